import { SerializerSelector } from "@fastify/fast-json-stringify-compiler";

type SerializerFactory = ReturnType<typeof SerializerSelector>;

/**
 * Fastify's own serializers, but one per schema instead of one per route and status: most answers of most routes are
 * the same few problems, and compiling each anew was the longest part of a start.
 */
export function sharedSerializers(): SerializerFactory {
  const build = SerializerSelector();
  return (externalSchemas, options) => {
    const compile = build(externalSchemas, options);
    const compiled = new Map<string, ReturnType<typeof compile>>();
    return (route) => {
      const key = JSON.stringify(route.schema);
      const serialize = compiled.get(key) ?? compile(route);
      compiled.set(key, serialize);
      return serialize;
    };
  };
}

import { describe, expect, test } from "vitest";
import { OAuthError } from "./oauth-error.js";
import { parseForm, parseJson } from "./token-parameters.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "utf8");
const refusal = (work: () => unknown): OAuthError => {
  try {
    work();
  } catch (error) {
    if (error instanceof OAuthError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
};

describe("a form body", () => {
  test.each<[string, string, object]>([
    [
      "names and values",
      "grant_type=client_credentials&client_id=a",
      { grant_type: "client_credentials", client_id: "a" },
    ],
    [
      "percent encoding and plus signs",
      "scope=job%3Aread+run:read&client%5Fid=%C3%A9",
      { scope: "job:read run:read", client_id: "é" },
    ],
    ["equal signs in values", "client_secret=a=b==", { client_secret: "a=b==" }],
    ["nothing", "", {}],
    ["stray separators", "&&grant_type=x&", { grant_type: "x" }],
    ["parameters without a value as absent", "scope=&client_id&grant_type=x", { grant_type: "x" }],
    [
      "unknown parameters, even twice, as ignored",
      "foo=1&foo=2&username=u&grant_type=x",
      { grant_type: "x" },
    ],
    ["names that objects have as ignored", "__proto__=1&constructor=2&hasOwnProperty=3", {}],
  ])("reads %s", (_name, body, parameters) => {
    expect(parseForm(bytes(body))).toEqual(parameters);
  });

  test.each<[string, Uint8Array]>([
    ["a parameter sent twice", bytes("client_id=a&client_id=b")],
    ["a parameter sent twice, once empty", bytes("client_id=&client_id=b")],
    ["the same audience twice", bytes("audience=service&audience=service")],
    ["a parameter sent twice under encoded names", bytes("client_id=a&client%5fid=b")],
    ["percent encoding that is none", bytes("client_id=%zz")],
    ["percent encoding that ends early", bytes("client_id=%4")],
    ["percent encoding of bytes that are no UTF-8", bytes("client_id=%ff%fe")],
    ["bytes that are no UTF-8", Buffer.from([0x61, 0x3d, 0xff, 0xfe])],
  ])("with %s is invalid_request", (_name, body) => {
    expect(refusal(() => parseForm(body))).toMatchObject({ code: "invalid_request", status: 400 });
  });
});

describe("a JSON body", () => {
  test.each<[string, string, object]>([
    [
      "its string members",
      '{"grant_type":"x","scope":"job:read run:read"}',
      { grant_type: "x", scope: "job:read run:read" },
    ],
    ["whitespace and a byte order mark", '\ufeff {\n"grant_type" : "x"\n}', { grant_type: "x" }],
    [
      "unknown members of any type as ignored",
      '{"foo":[1,{"a":null}],"grant_type":"x"}',
      { grant_type: "x" },
    ],
    ["empty strings as absent", '{"scope":"","grant_type":"x"}', { grant_type: "x" }],
    ["prototype members as ignored", '{"__proto__":{"grant_type":"x"},"constructor":{}}', {}],
  ])("gives %s", (_name, body, parameters) => {
    expect(parseJson(bytes(body))).toEqual(parameters);
  });

  test.each<[string, Uint8Array]>([
    ["that is malformed", bytes('{"grant_type":')],
    ["that is empty", bytes("")],
    ["that is an array", bytes('[{"grant_type":"x"}]')],
    ["that is null", bytes("null")],
    ["that is a string", bytes('"grant_type=x"')],
    ["with a number", bytes('{"client_id":12}')],
    ["with null", bytes('{"scope":null}')],
    ["with a list", bytes('{"scope":["job:read"]}')],
    ["with an object", bytes('{"client_secret":{"a":"b"}}')],
    ["with a boolean", bytes('{"grant_type":true}')],
    ["with half a character", bytes('{"client_id":"\\ud800"}')],
    ["nested without end", bytes("[".repeat(30_000))],
    [
      "with bytes that are no UTF-8",
      Buffer.concat([bytes('{"client_id":"'), Buffer.from([0xc3, 0x28]), bytes('"}')]),
    ],
  ])("%s is invalid_request", (_name, body) => {
    expect(refusal(() => parseJson(body))).toMatchObject({ code: "invalid_request", status: 400 });
  });
});

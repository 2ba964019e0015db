// The layers of DESIGN.md section 1: http (dialects) -> domain -> operations -> queue -> worker -> connectors | engines.
// `npm run architecture` checks them, type imports included.

// TypeScript 7 has no compiler API that dependency-cruiser could use, so swc reads the files. Without it no file would
// be read, and no file breaks no rule: better to stop here.
require.resolve("@swc/core");

/** Modules that put the processes together: they alone see all. */
const ROOTS = "^src/[^/]+[.]ts$";
/** Files in src/ that are no such module and may be imported by anybody. */
const LEAVES = "^src/(platform/|config/|config[.]ts$|version[.]ts$)";
/** Who a principal is and what it may do: words that every layer speaks. */
const VOCABULARY = "^src/auth/(principal|roles|scopes)[.]ts$";

/** That nothing in `from` imports anything of ours outside `allowed` (and of itself). */
function only(name, comment, from, ...allowed) {
  return {
    name,
    comment,
    severity: "error",
    from: { path: from, pathNot: "[.]test[.]ts$" },
    to: { path: "^src/", pathNot: [from, LEAVES, ...allowed] },
  };
}

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: "no-cycles",
      comment: "Whatever is in a cycle can only be understood, tested and replaced together.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "config-is-a-leaf",
      comment: "Anybody may import the configuration, so it imports nobody of ours.",
      severity: "error",
      from: { path: "^src/(config/|(config|version)[.]ts$)", pathNot: "[.]test[.]ts$" },
      to: { path: "^src/", pathNot: "^src/config/" },
    },
    {
      name: "platform-is-a-leaf",
      comment: "No business words in platform/: it imports nobody of ours.",
      severity: "error",
      from: { path: "^src/platform/", pathNot: "[.]test[.]ts$" },
      to: { path: "^src/", pathNot: "^src/platform/" },
    },
    only("embedded-stands-alone", "A database server, whoever uses it.", "^src/embedded/"),
    only(
      "connectors-stand-alone",
      "Connectors know stores and their port, and nothing of jobs, operations or http.",
      "^src/connectors/",
    ),
    only("engines-stand-alone", "Engines know database servers and their port.", "^src/engines/"),
    only("auth-knows-no-business", "Tokens, clients and scopes know no jobs and no routes.", "^src/auth/"),
    only(
      "operations-know-no-business",
      "The ledger and the queue carry any work; they know neither who asks nor who does it.",
      "^src/operations/",
      VOCABULARY,
    ),
    only(
      "domain-reaches-no-edge",
      "The domain knows neither http, queue, worker, connectors nor engines: it declares ports for them.",
      "^src/domain/(?!access/)",
      "^src/domain/",
      VOCABULARY,
      "^src/operations/(?!queue[.]ts$)",
    ),
    only(
      "access-administers-auth",
      "Like the rest of the domain; and what auth judges by (clients, keys, resource servers) is made there.",
      "^src/domain/access/",
      "^src/(domain|auth)/",
      "^src/operations/(?!queue[.]ts$)",
    ),
    only(
      "http-reaches-no-store",
      "Only workers reach files, customer networks, commands and engines.",
      "^src/http/",
      "^src/(auth|domain)/",
      "^src/operations/(?!queue[.]ts$)",
    ),
    only(
      "worker-knows-no-http",
      "Work is done the same whoever asked for it, and through whichever dialect.",
      "^src/worker/",
      VOCABULARY,
      "^src/(domain|operations|connectors|engines)/",
    ),
    {
      name: "dialects-do-not-know-each-other",
      comment: "Deleting a dialect's folder compiles after one line in app.ts. The core API is there always.",
      severity: "error",
      from: { path: "^src/http/(project|topics|runs|deployments)-api/" },
      to: { path: "^src/http/(project|topics|runs|deployments)-api/", pathNot: "^src/http/$1-api/" },
    },
    {
      name: "only-roots-see-roots",
      comment: "What puts processes together is imported by what starts them.",
      severity: "error",
      from: { path: "^src/[^/]+/", pathNot: ["^src/cli/", "[.]test[.]ts$"] },
      to: { path: ROOTS, pathNot: LEAVES },
    },
    {
      name: "only-tests-use-development-tools",
      comment: "dist/ runs where devDependencies are not installed.",
      severity: "error",
      from: { path: "^src/", pathNot: "[.]test[.]ts$" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "everything-resolves",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    parser: "swc",
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^src/platform/generated/" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
    },
  },
};

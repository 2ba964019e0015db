import { createServer, IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { createAccessRecords } from "../../src/auth/access-records.js";
import { bootstrap } from "../../src/auth/bootstrap.js";
import { openSigningKeys } from "../../src/auth/keys.js";
import { builtInResourceServers } from "../../src/auth/resource-servers.js";
import { createTokenEndpoint } from "../../src/auth/token-endpoint.js";
import { createProvider } from "../../src/auth/provider.js";
import { parseForm } from "../../src/auth/token-parameters.js";
import { systemClock } from "../../src/platform/clock.js";
import { MasterKey } from "../../src/platform/crypto.js";
import { createPrisma } from "../../src/platform/prisma.js";
import { Database } from "../../src/platform/sql.js";
import { serve } from "./child.js";
const PUBLIC_URL = "https://bench.example";
const SECRET = "a-secret-of-forty-three-characters-in-length";
const databaseUrl = process.env["BENCH_DATABASE_URL"] ?? "";
const logger = pino({ level: "info" }, pino.destination({ dest: "/dev/null", sync: false }));
const masterKey = new MasterKey(MasterKey.generate());
const prisma = createPrisma(databaseUrl, 4);
const sql = new Database(databaseUrl, 4, logger);
const deps = { publicUrl: PUBLIC_URL, masterKey, prisma, clock: systemClock, logger };
await bootstrap(prisma, masterKey, { clientId: "bench-0", clientSecret: SECRET });
const keys = await openSigningKeys(deps);
const records = createAccessRecords({ sql, logger });
const resourceServers = builtInResourceServers(PUBLIC_URL);
const tokens = createTokenEndpoint({ ...deps, keys, records, resourceServers });
const direct = createProvider({ ...deps, records, resourceServers }, keys.active).callback();
const mode = process.env["MODE"] ?? "endpoint";
const server = createServer((req, res) => {
  if (mode === "direct") { direct(req, res); return; }
  const chunks: Buffer[] = [];
  req.on("data", (c) => chunks.push(c)); req.on("end", () => {
    if (mode === "null") { res.setHeader("content-type", "application/json"); res.end(JSON.stringify({ a: "x".repeat(700) })); return; }
    if (mode === "rawbody") { const body = Buffer.concat(chunks).toString(); (req as any).body = body.replace("audience=default", "resource=urn%3Agatehouse%3Aasked%3Adefault"); req.url = "/oauth/token"; direct(req, res); return; }
    if (mode === "newmsg") { const m = new IncomingMessage(req.socket); m.method="POST"; m.url = "/oauth/token"; const body = Buffer.from(Buffer.concat(chunks).toString().replace("audience=default", "resource=urn%3Agatehouse%3Aasked%3Adefault")); m.headers = {"content-type":"application/x-www-form-urlencoded", "content-length": String(body.length)}; (m as any).iterator = async function*(){ yield body; }; direct(m, res); return; }
    if (mode === "nosock") { const m = new IncomingMessage(null as never); m.method="POST"; m.url = "/oauth/token"; const body = Buffer.from(Buffer.concat(chunks).toString().replace("audience=default", "resource=urn%3Agatehouse%3Aasked%3Adefault")); m.headers = {"content-type":"application/x-www-form-urlencoded", "content-length": String(body.length)}; (m as any).iterator = async function*(){ yield body; }; direct(m, res); return; }
    tokens.accept(parseForm(Buffer.concat(chunks)), req)(res);
  });
});
server.listen(0, "127.0.0.1", () => {
const { port } = server.address() as AddressInfo;
const form = { grant_type: "client_credentials", client_id: "bench-0", client_secret: SECRET, scope: "service production:destructive platform:admin" };
const forms = [new URLSearchParams(mode === "direct" ? { ...form, resource: "urn:gatehouse:asked:default" } : { ...form, audience: "default" }).toString()];
serve({ url: `http://127.0.0.1:${port}`, forms });
});

import type { Request } from "autocannon";
import { startServer } from "./support/child.js";
import { createBenchDatabase } from "./support/database.js";
import { interleave } from "./support/load.js";
import { type BenchResult, compare, print } from "./support/report.js";

const FORM = { "content-type": "application/x-www-form-urlencoded" };
const OPTIONS = { rounds: 15, seconds: 2, connections: 16 };

/** Tokens per second (client_credentials, ES256) of the app's token route against a bare oidc-provider. */
export async function run(options: Partial<typeof OPTIONS> = {}): Promise<BenchResult> {
  const database = await createBenchDatabase();
  const ours = await startServer("auth-app", { BENCH_DATABASE_URL: database.url });
  const bare = await startServer("bare-provider", {});
  try {
    const forms = ours.ready["forms"] as string[];
    const { sides, note } = await interleave(
      [
        {
          name: "gatehouse",
          server: ours,
          url: `${ours.ready["url"]}/oauth/token`,
          requests: forms.map(toRequest),
        },
        {
          name: "bare oidc-provider",
          server: bare,
          url: String(bare.ready["url"]),
          requests: [toRequest(String(bare.ready["form"]))],
        },
      ],
      { ...OPTIONS, ...options },
    );
    return compare({ name: "tokens", unit: "tokens/s", sides, target: 0.9, notes: [note] });
  } finally {
    await ours.stop();
    await bare.stop();
    await database.drop();
  }
}

function toRequest(body: string): Request {
  return { method: "POST", headers: FORM, body };
}

if (process.argv[1] === import.meta.filename) print(await run());

import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What kills processes takes minutes and is short to read. Elsewhere long files come first: so it would run last, and alone. */
class FaultsFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isFault = ({ moduleId }: TestSpecification): boolean => moduleId.includes("/test/faults/");
    return [...sorted.filter(isFault), ...sorted.filter((file) => !isFault(file))];
  }
}

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: FaultsFirst },
    // Loading the product anew for each file was a tenth of the time. No file changes what another one imports.
    isolate: false,
    // Real processes on a shared machine: CI asks a second time before it says no, and shows that it did.
    retry: process.env["CI"] === "true" ? 1 : 0,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
  },
});

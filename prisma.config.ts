import { defineConfig } from "prisma/config";

/** Where the Prisma CLI finds the schema, the migrations and the database (only the CLI reads this). */
export default defineConfig({
  schema: "prisma/schema.prisma",
  migrations: { path: "prisma/migrations" },
  datasource: { url: process.env["DATABASE_URL"] ?? "postgresql://localhost:5432/gatehouse" },
});

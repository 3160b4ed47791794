import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      {
        test: {
          name: "live",
          include: ["test/live/**/*.test.ts", "test/live/**/*.test.tsx"],
          globalSetup: "test/support/service.ts",
          fileParallelism: false, // They share a service, and some kill its processes.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          environmentOptions: { happyDOM: { settings: { fetch: { disableSameOriginPolicy: true } } } },
        },
      },
    ],
  },
});

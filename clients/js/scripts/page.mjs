// Builds what the gateway serves as the page: `npm run page`. With --check it writes nothing, and fails when the
// committed file is not what the sources give.

import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const TARGET = fileURLToPath(new URL("../../../gateway/web/static/page.js", import.meta.url));

const { outputFiles } = await build({
  entryPoints: ["page/main.ts"],
  absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: { js: "// Built from clients/js/page by `npm run page`." },
  write: false,
});
const built = outputFiles[0].text;
if (!process.argv.includes("--check")) writeFileSync(TARGET, built);
else if (readFileSync(TARGET, "utf8") !== built) {
  console.error("gateway/web/static/page.js is not what clients/js/page gives: run `npm run page` in clients/js");
  process.exitCode = 1;
}

// Builds what the gateway serves: the page, and the client for pages elsewhere: `npm run page`. With --check it writes
// nothing, and fails when a committed file is not what the sources give.

import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const BUILT = { "page/main.ts": "page.js", "src/browser.ts": "durable-counters.js" };

for (const [source, name] of Object.entries(BUILT)) {
  const target = fileURLToPath(new URL(`../../../gateway/web/static/${name}`, import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [source],
    absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    banner: { js: `// Built from clients/js/${source} by \`npm run page\`.` },
    write: false,
  });
  const built = outputFiles[0].text;
  if (!process.argv.includes("--check")) writeFileSync(target, built);
  else if (readFileSync(target, "utf8") !== built) {
    console.error(`gateway/web/static/${name} is not what clients/js/${source} gives: run \`npm run page\` in clients/js`);
    process.exitCode = 1;
  }
}

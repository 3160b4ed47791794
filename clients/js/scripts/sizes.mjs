// What each part weighs, minified and compressed, and what it may: `npm run sizes`. Exit code 1 when one is too heavy.

import { build } from "esbuild";
import { gzipSync } from "node:zlib";

const EXTERNAL = ["react", "@tanstack/react-query", "../src/*"];
const PARTS = [
  ["core", "src/index.ts", [], 6],
  ["like", "src/like.ts", EXTERNAL, 1.5],
  ["react", "react/index.ts", EXTERNAL, 3],
  ["react-query", "react/query.ts", EXTERNAL, 3],
  ["page", "page/main.ts", [], 35],
];

let heavy = false;
for (const [name, entry, external, limit] of PARTS) {
  const { outputFiles } = await build({
    entryPoints: [entry], bundle: true, minify: true, format: "esm", target: "es2022", write: false, external,
  });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  heavy ||= bytes > limit * 1024;
  console.log(`${name.padEnd(12)} ${(bytes / 1024).toFixed(2)} KB of ${limit} KB`);
}
process.exitCode = heavy ? 1 : 0;

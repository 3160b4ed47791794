// The service that the live tests use: started once by `tests/support/remote.py`, which ends it, whatever happens, when
// our end of its standard input is gone.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));

declare module "vitest" {
  interface ProvidedContext {
    url: string;
    control: string;
  }
}

export default async function start(project: TestProject): Promise<() => Promise<void>> {
  const python = process.env.COUNTERS_PYTHON ?? `${ROOT}.venv/bin/python`;
  const service = spawn(python, ["-m", "tests.support.remote", "allowed_origins=*"], { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
  const [line] = await once(createInterface(service.stdout), "line");
  const { url, control } = JSON.parse(line);
  project.provide("url", url);
  project.provide("control", control);
  return async () => {
    service.stdin.end();
    await once(service, "exit");
  };
}

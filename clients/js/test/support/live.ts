// What live tests share: clients of the running service, names that nobody has used, and waiting for what must come.

import { randomUUID } from "node:crypto";
import { afterEach, inject } from "vitest";
import { WebSocket } from "ws";
import { CounterClient, type ClientOptions, type CounterEvent, type Update } from "../../src/index.js";

export const url = inject("url");
const opened: CounterClient[] = [];

// Node has a WebSocket of its own only since version 22.
globalThis.WebSocket = WebSocket as unknown as typeof globalThis.WebSocket;

afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});

/** A client that is closed after the test. Its pauses are short. */
export function newClient(options: ClientOptions = {}): CounterClient {
  const client = new CounterClient({ url, reconnect: { base: 50, cap: 500 }, ...options });
  opened.push(client);
  return client;
}

export const newName = (): string => `js-${randomUUID().slice(0, 13)}`;

/** Do something to the service: `kill/gateway`, `kill/host`, `drain`, … */
export async function control(what: string): Promise<void> {
  const answer = await fetch(`${inject("control")}/${what}`, { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Resolves when `look` returns something true, asked again whenever something was heard. */
export function until<T>(client: CounterClient, look: () => T | undefined | false): Promise<T> {
  return new Promise((resolve) => {
    const check = (): boolean => {
      const found = look();
      if (found) resolve(found);
      return Boolean(found);
    };
    if (check()) return;
    const stop = client.onState(() => check() && stop());
    checks.add(check);
  });
}

const checks = new Set<() => boolean>();

/** Watch a counter, keep what came, and wake whoever waits in `until`. */
export function record(client: CounterClient, name: string): Update[] {
  const heard: Update[] = [];
  client.watch(name, (_, update) => {
    if (update) heard.push(update);
    for (const check of checks) if (check()) checks.delete(check);
  });
  return heard;
}

/** Fails unless the events follow on each other, from the first snapshot on, without gap or repetition. */
export function checkSequence(heard: readonly Update[]): void {
  let place: { life: number; count: number } | undefined;
  for (const update of heard) {
    const { id: life, operationCount: count } = update.metadata;
    if (update.type !== "snapshot" && place) {
      const before = life === place.life ? place.count : 0;
      const expected = before + ((update as CounterEvent).operations ?? 1);
      if (count !== expected) throw new Error(`after ${before} came ${count} instead of ${expected}`);
    }
    place = { life, count };
  }
}

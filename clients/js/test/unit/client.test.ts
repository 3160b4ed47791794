// The client with sockets that a test plays.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CounterClient, type ClientOptions } from "../../src/index.js";

/** Opens when it is told to, and keeps what is said. */
class Played {
  static opened: Played[] = [];
  readyState = 0;
  said: any[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;

  constructor(readonly url: string) {
    new URL(url);
    Played.opened.push(this);
  }

  send(text: string): void {
    this.said.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  /** What was said of a type, names joined. */
  names(type: string): string[] {
    return this.said.filter((message) => message.type === type).flatMap(({ names }) => names);
  }
}

const clients: CounterClient[] = [];

function newClient(options: ClientOptions = {}): CounterClient {
  const client = new CounterClient({ url: "http://c.example", WebSocket: Played as unknown as typeof WebSocket, ...options });
  clients.push(client);
  return client;
}

/** The socket of a client that wants one, open. */
async function opened(): Promise<Played> {
  await Promise.resolve();
  const socket = Played.opened.at(-1)!;
  socket.readyState = 1;
  socket.onopen!();
  return socket;
}

beforeEach(() => {
  Played.opened = [];
  vi.useFakeTimers();
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  vi.useRealTimers();
});

test("an address without a scheme is one for http", async () => {
  newClient({ url: "localhost:9471" }).watch("votes", () => {});
  expect((await opened()).url).toMatch("ws://localhost:9471/ws?");
});

test.each([
  ["an address that is none", { url: "http://a b" }, /URL/],
  ["no address", { url: undefined }, /where the service is/],
  ["an attachment that is no JSON", { attachment: 1n }, /BigInt/],
])("%s: the client is closed and says why", async (_, options, message) => {
  const client = newClient(options);
  client.watch("votes", () => {});
  const outcome = client.increment("votes").catch((error) => error);
  expect(await outcome).toMatchObject({ code: "UNUSABLE", retryable: false, uncertain: false });
  expect(client).toMatchObject({ state: "closed", problem: { kind: "unusable", message: expect.stringMatching(message) } });
  expect(client.view("votes").pending).toBe(0);
  client.retry();
  await vi.waitFor(() => expect(client.state).toBe("closed"));
});

test("where there is no WebSocket, the client is closed and says so", async () => {
  Reflect.deleteProperty(globalThis, "WebSocket"); // As in a Node.js older than 22.
  const client = new CounterClient({ url: "http://c.example" });
  await expect(client.increment("votes")).rejects.toMatchObject({ code: "UNUSABLE" });
  expect(client.problem).toMatchObject({ kind: "unusable", message: "No connection can be made: WebSocket is not defined" });
});

const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}:${index}`);

test("counters that nobody watches any more leave room for others", async () => {
  const client = newClient();
  const watch = (wanted: string[]) => wanted.map((name) => client.watch(name, () => {}));
  const stops = watch(names("a", 600));
  const socket = await opened();
  stops.forEach((stop) => stop());
  watch(names("b", 1000));
  expect(() => client.watch("c", () => {})).toThrow("1000 counters at most");
  await Promise.resolve();
  expect(socket.names("unsubscribe")).toEqual(names("a", 600));
  expect(socket.names("subscribe").slice(600)).toEqual(names("b", 1000));
  expect(client.state).toBe("open");
});

test("those who come and go all the time put nothing off", async () => {
  const client = newClient();
  client.watch("kept", () => {});
  const socket = await opened();
  for (const name of names("a", 10)) {
    client.watch(name, () => {})();
    vi.advanceTimersByTime(200);
  }
  expect(socket.names("unsubscribe")).toContain("a:6");
  vi.advanceTimersByTime(500);
  expect(socket.names("unsubscribe")).toEqual(names("a", 10));
});

test("a connection that is used now and then is kept as long after each time", async () => {
  const client = newClient();
  client.watch("votes", () => {})();
  for (let click = 1; click <= 5; click += 1) {
    const answer = client.increment("votes");
    const socket = click === 1 ? await opened() : Played.opened.at(-1)!;
    const metadata = { id: 1, name: "votes", value: click, createdAt: null, updatedAt: null, operationCount: click };
    socket.onmessage!({ data: JSON.stringify({ type: "incrementResult", id: `${click}`, result: { value: click, metadata } }) });
    await answer;
    vi.advanceTimersByTime(400);
  }
  expect(Played.opened.length).toBe(1);
  vi.advanceTimersByTime(200);
  expect(client.state).toBe("idle");
});

test("a number that is refused is told what it may be", async () => {
  const client = newClient();
  await expect(client.setValue("votes", 2 ** 53)).rejects.toThrow("an integer from -9007199254740991 to 9007199254740991");
  await expect(client.increment("votes", 0)).rejects.toThrow("an integer from 1 to 9007199254740991");
});

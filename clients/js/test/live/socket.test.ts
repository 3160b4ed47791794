import { expect, test } from "vitest";
import { closeWebSocket, createCounterWebSocket, sendPing } from "../../src/index.js";
import { newName, url } from "../support/live.js";

/** A socket, and a way to wait for its next message of a type. */
function open(name: string, more = {}) {
  const waiting = new Map<string, (message: any) => void>();
  const next = (type: string) => new Promise<any>((resolve) => waiting.set(type, resolve));
  const opened = next("open");
  const closed = next("close");
  const socket = createCounterWebSocket(name, {
    url,
    onOpen: () => waiting.get("open")!(true),
    onClose: (event) => waiting.get("close")!(event),
    onMessage: (message) => waiting.get(message.type)?.(message),
    ...more,
  });
  return { socket, next, opened, closed };
}

test("it opens, hears, pings and closes", async () => {
  const { socket, next, opened } = open(newName());
  expect(sendPing(socket)).toBe(false);
  await opened;
  const pong = next("pong");
  expect(sendPing(socket)).toBe(true);
  expect((await pong).timestamp).toMatch(/Z$/);
  const event = next("increment");
  socket.send('{"type":"increment","amount":2}');
  expect(await event).toMatchObject({ value: 2, previousValue: 0 });
  closeWebSocket(socket);
});

test("snapshot, resume and key are parameters", async () => {
  const name = newName();
  const first = open(name, { snapshot: true, key: "k" });
  expect(await first.next("snapshot")).toMatchObject({ value: 0, metadata: { id: 0 } });
  const result = first.next("incrementResult");
  first.socket.send('{"type":"increment","id":"1"}');
  const { id: life } = (await result).result.metadata;
  closeWebSocket(first.socket);
  const second = open(name, { since: 0, life, key: "k" });
  expect(await second.next("increment")).toMatchObject({ value: 1 });
  const again = second.next("incrementResult");
  second.socket.send('{"type":"increment","id":"1"}');
  expect((await again).result.value).toBe(1);
  closeWebSocket(second.socket);
});

test("closed while it connects, it says nothing more", async () => {
  const { socket } = open(newName(), { onOpen: () => expect.unreachable() });
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
  closeWebSocket(socket);
  await closed;
});

test("a name that none can have is refused", () => {
  expect(() => createCounterWebSocket("a/b", { url })).toThrow("a name has");
});

import { expect, test } from "vitest";
import { httpUrl, wsUrl } from "../../src/address.js";
import { isName, read } from "../../src/wire.js";

const METADATA = { id: 1, name: "votes", value: 2, createdAt: null, updatedAt: null, operationCount: 2 };

test.each(["a", "A.b:c-d_e", "x".repeat(100), "...", "-"])("a counter can be called %s", (name) => {
  expect(isName(name)).toBe(true);
});

test.each(["", ".", "..", "x".repeat(101), "a b", "a/b", "a?b", "a#b", "ä", "a\n", "<b>", "%41", null, 7, undefined])(
  "nothing can be called %j", (name) => expect(isName(name)).toBe(false));

test.each(["", "{", "null", "7", "[]", "{}", '{"type":7}', '{"type":"increment"}', '{"type":"increment","value":"1"}',
  JSON.stringify({ type: "increment", value: 1.5, metadata: METADATA }),
  JSON.stringify({ type: "increment", value: 2 ** 53, metadata: METADATA }),
  JSON.stringify({ type: "increment", value: 1, metadata: { ...METADATA, name: "<b>" } }),
  '{"type":"incrementResult","id":"1"}', '{"type":"error"}', "<html>", new ArrayBuffer(3), null])(
  "%j is no message", (data) => expect(read(data)).toBeNull());

test("messages are told apart", () => {
  expect(read('{"type":"pong","timestamp":"t"}')).toEqual({ kind: "pong", timestamp: "t" });
  expect(read("pong")).toEqual({ kind: "pong", timestamp: undefined });
  const update = { type: "increment", value: 2, previousValue: 1, metadata: METADATA, timestamp: "t" };
  expect(read(JSON.stringify(update))).toEqual({ kind: "update", update });
  const liked = { success: true, name: "votes", newCount: 2, isLiked: true, metadata: METADATA };
  expect(read(JSON.stringify({ type: "like.addResult", id: "1", result: liked })))
    .toEqual({ kind: "result", id: "1", result: { ...liked, value: 2 } });
  expect(read('{"type":"error","code":"UNAVAILABLE","message":"m","retryable":true,"id":"3"}'))
    .toMatchObject({ kind: "error", id: "3", retryable: true });
});

test("http becomes ws and https wss, and back", () => {
  expect(wsUrl("https://c.example/", "/ws", { key: "a b", rate: undefined })).toBe("wss://c.example/ws?key=a+b");
  expect(wsUrl("http://c.example:8094", "/ws")).toBe("ws://c.example:8094/ws");
  expect(wsUrl("wss://c.example", "/ws")).toBe("wss://c.example/ws");
  expect(httpUrl("wss://c.example")).toBe("https://c.example");
  expect(() => httpUrl()).toThrow("where the service is");
  expect(() => httpUrl("null")).toThrow("where the service is"); // The origin of a page that is a file.
});

test.each([
  ["localhost:9471", "http://localhost:9471"], ["127.0.0.1:9471/", "http://127.0.0.1:9471"], ["[::1]:9471", "http://[::1]:9471"],
  ["counters.example", "http://counters.example"], ["ws.example:80", "http://ws.example:80"], ["/counters", "/counters"],
])("%s without a scheme", (url, expected) => {
  expect(httpUrl(url)).toBe(expected);
});

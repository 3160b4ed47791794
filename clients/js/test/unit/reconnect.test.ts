import { expect, test } from "vitest";
import { readWindow, Reconnect } from "../../src/core/reconnect.js";

const LOST = 1006;

test("pauses grow, and are a random part of what they grow to", () => {
  const reconnect = new Reconnect({ base: 100, cap: 1000 });
  expect([1, 2, 3, 4, 5, 6].map(() => reconnect.ended(LOST, "", 0, 1))).toEqual([100, 200, 400, 800, 1000, 1000]);
  expect(reconnect.ended(LOST, "", 0, 0)).toBe(0);
  expect(reconnect.ended(LOST, "", 0, 0.25)).toBe(250);
});

test("a connection that worked for a while begins anew, one that ended at once does not", () => {
  const reconnect = new Reconnect({ base: 100 });
  reconnect.ended(LOST, "", 0, 1);
  expect(reconnect.ended(LOST, "", 10, 1)).toBe(200);
  expect(reconnect.ended(LOST, "", 60_000, 1)).toBe(100);
});

test("the service's window is honoured once, and then backed off from", () => {
  const reconnect = new Reconnect({ base: 100 });
  expect(reconnect.ended(1012, '{"reconnect":[2,6]}', 60_000, 0.5)).toBe(4000);
  expect(reconnect.ended(1012, '{"reconnect":[0,0]}', 0, 1)).toBe(200);
});

test.each(["", "bye", "{}", '{"reconnect":5}', '{"reconnect":[5,1]}', '{"reconnect":[-1,1]}', '{"reconnect":[0,1e9]}',
  '{"reconnect":["0","5"]}', '{"reconnect":[0,null]}', "null"])("%j is no window", (reason) => {
  expect(readWindow(reason)).toBeNull();
});

test("when pauses have not helped for long the circuit opens: at least half of the cooldown between attempts", () => {
  const reconnect = new Reconnect({ base: 1000, cap: 1000, breakAfter: 3000, cooldown: 60_000 });
  for (let failure = 1; failure <= 3; failure += 1) {
    expect(reconnect.broken).toBe(false);
    expect(reconnect.ended(LOST, "", 0, 1)).toBe(1000);
  }
  expect(reconnect.broken).toBe(true);
  expect(reconnect.ended(LOST, "", 0, 0)).toBe(30_000);
  expect(reconnect.ended(LOST, "", 0, 1)).toBe(60_000);
  reconnect.reset();
  expect(reconnect.broken).toBe(false);
  expect(reconnect.ended(LOST, "", 0, 1)).toBe(1000);
});

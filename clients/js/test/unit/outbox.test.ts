import { expect, test } from "vitest";
import { Outbox } from "../../src/core/outbox.js";

const operation = (at = 0, name = "votes") =>
  ({ name, type: "increment" as const, number: 1, at, resolve: () => {}, reject: () => {} });

test("each operation goes on each connection once, in order, under the same id", () => {
  const outbox = new Outbox(10);
  outbox.add(operation());
  outbox.add(operation());
  expect(outbox.take().map(({ id, sends }) => [id, sends])).toEqual([["1", 1], ["2", 1]]);
  expect(outbox.take()).toEqual([]);
  outbox.settle("1");
  outbox.disconnected();
  outbox.add(operation());
  expect(outbox.take().map(({ id, sends }) => [id, sends])).toEqual([["2", 2], ["3", 1]]);
});

test("an operation the service has no time for goes out again, an unknown one does not", () => {
  const outbox = new Outbox(10);
  outbox.add(operation());
  outbox.take();
  expect(outbox.again("1")).toBe(true);
  expect(outbox.again("7")).toBe(false);
  expect(outbox.take().map(({ id }) => id)).toEqual(["1"]);
});

test("it has a limit", () => {
  const outbox = new Outbox(2);
  outbox.add(operation());
  outbox.add(operation());
  expect(() => outbox.add(operation())).toThrow("2 operations wait");
  outbox.settle("1");
  expect(outbox.add(operation()).id).toBe("3");
});

test("what is too old is given up, and only that", () => {
  const outbox = new Outbox(10);
  outbox.add(operation(100));
  outbox.add(operation(200));
  expect(outbox.expire(150).map(({ id }) => id)).toEqual(["1"]);
  expect(outbox.size).toBe(1);
});

test("the operations of a counter are its own", () => {
  const outbox = new Outbox(10);
  outbox.add(operation(0, "seats"));
  outbox.add(operation(0, "votes"));
  expect(outbox.of("votes").map(({ id }) => id)).toEqual(["2"]);
});

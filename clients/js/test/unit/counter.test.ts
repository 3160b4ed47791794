import { expect, test } from "vitest";
import { Counter } from "../../src/core/counter.js";
import type { Operation } from "../../src/core/outbox.js";
import type { CounterEvent, OperationType, Snapshot } from "../../src/wire.js";

const metadata = (value: number, count: number, life: number) =>
  ({ id: life, name: "votes", value, createdAt: null, updatedAt: null, operationCount: count });
const event = (value: number, count: number, life = 1, more: Partial<CounterEvent> = {}): CounterEvent =>
  ({ type: "increment", value, previousValue: value - 1, metadata: metadata(value, count, life), timestamp: "", ...more });
const snapshot = (value: number, count: number, life = 1): Snapshot =>
  ({ type: "snapshot", value, metadata: metadata(value, count, life), timestamp: "" });
const result = (value: number, count: number, life = 1) => ({ value, metadata: metadata(value, count, life) });
const operation = (type: OperationType, number = 1) => ({ id: "1", name: "votes", type, number }) as Operation;

function counterAt(value: number, count: number, life = 1): Counter {
  const counter = new Counter();
  counter.hear(snapshot(value, count, life), false);
  return counter;
}

test("events are taken in order and once", () => {
  const counter = counterAt(5, 5);
  expect([event(6, 6), event(6, 6), event(5, 5), event(7, 7)].map((each) => counter.hear(each, false)))
    .toEqual(["new", "known", "known", "new"]);
  expect(counter.since).toEqual({ life: 1, count: 7 });
  expect(counter.view([]).value).toBe(7);
});

test("a gap is reported once, and then lived with", () => {
  const counter = counterAt(5, 5);
  expect(counter.hear(event(8, 8), false)).toBe("gap");
  expect(counter.since).toEqual({ life: 1, count: 5 });
  expect(counter.hear(event(8, 8), false)).toBe("new");
  expect(counter.hear(event(20, 20), false)).toBe("gap");
});

test("a joined event is no gap", () => {
  const counter = counterAt(5, 5);
  expect(counter.hear(event(9, 9, 1, { operations: 4 }), false)).toBe("new");
});

test("a counter that was deleted and made anew begins with 1; the old one's events are behind us", () => {
  const counter = counterAt(5, 5);
  expect(counter.hear(event(0, 6, 1, { type: "reset", reason: "deleted" }), false)).toBe("new");
  expect(counter.hear(event(1, 1, 2), false)).toBe("new");
  expect(counter.hear(event(7, 7, 1), false)).toBe("known");
  expect(counter.view([]).value).toBe(1);
  expect(counter.since).toEqual({ life: 2, count: 1 });
});

test("a snapshot is the truth, also of a counter that is no more", () => {
  const counter = counterAt(5, 5, 3);
  expect(counter.hear(snapshot(0, 0, 0), false)).toBe("new");
  expect(counter.view([]).value).toBe(0);
  expect(counter.since).toBeUndefined();
});

test("our operations are on show at once, and nothing shows them twice", () => {
  const counter = counterAt(5, 5);
  const ours = [operation("increment", 2)];
  expect(counter.view(ours)).toMatchObject({ value: 7, confirmed: 5, pending: 1 });
  expect(counter.hear(event(7, 6), true)).toBe("new"); // It is ours, before its answer.
  expect(counter.view(ours).value).toBe(7);
  counter.answered(result(7, 6), false);
  expect(counter.view([])).toMatchObject({ value: 7, confirmed: 7, pending: 0 });
});

test("an answer may overtake its event: shown at once, and the event is not skipped", () => {
  const counter = counterAt(5, 5);
  counter.answered(result(7, 7), false);
  expect(counter.view([]).value).toBe(7);
  expect(counter.hear(event(6, 6), false)).toBe("new");
  expect(counter.view([]).value).toBe(7);
  expect(counter.hear(event(7, 7), false)).toBe("new");
  expect(counter.hear(event(8, 8), false)).toBe("new");
  expect(counter.view([]).value).toBe(8);
});

test("the first answer about a counter that was never written may overtake everything, too", () => {
  const counter = counterAt(0, 0, 0);
  counter.answered(result(3, 1, 9), false);
  expect(counter.view([]).value).toBe(3);
  counter.hear(snapshot(0, 0, 0), false);
  expect(counter.view([]).value).toBe(3);
  expect(counter.hear(event(3, 1, 9), false)).toBe("new");
  expect(counter.view([]).value).toBe(3);
});

test("an answer may overtake a snapshot", () => {
  const counter = counterAt(5, 5);
  counter.answered(result(7, 7), false);
  counter.hear(snapshot(6, 6), false);
  expect(counter.view([]).value).toBe(7);
});

test("what others did while ours was on its way is shown with its answer", () => {
  const counter = counterAt(5, 5);
  counter.hear(event(6, 6), true);
  counter.hear(event(7, 7), true);
  counter.answered(result(6, 6), false);
  expect(counter.view([]).value).toBe(7);
});

test("a refusal takes the operation back", () => {
  const counter = counterAt(5, 5);
  expect(counter.view([operation("increment", 3)]).value).toBe(8);
  counter.hear(event(6, 6), true);
  counter.answered(null, false);
  expect(counter.view([]).value).toBe(6);
});

test.each<[OperationType, number, number, number]>([
  ["decrement", 1, 0, 0], ["decrement", 7, 3, 0], ["decrement", 7, -3, -10], ["setValue", 9, 3, 9], ["reset", 0, 3, 0],
  ["increment", 1, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
])("%s(%d) of %d will most likely give %d", (type, number, before, after) => {
  expect(counterAt(before, 5).view([operation(type, number)]).value).toBe(after);
});

test("before anything is known, nothing is shown", () => {
  expect(new Counter().view([operation("increment")])).toMatchObject({ value: undefined, pending: 1 });
});

// @vitest-environment happy-dom
// The hooks on a client that a test plays.

import { act, cleanup, renderHook, waitFor } from "@testing-library/react";
import { createElement, type ReactNode } from "react";
import { afterEach, expect, test, vi } from "vitest";
import { CounterError, NOTHING_KNOWN, type CounterClient } from "../../src/index.js";
import { CounterProvider, useCounter, useCounters, useCounterWebSocket, useLike } from "../../react/index.js";

afterEach(cleanup);

const NO = new CounterError("LIMIT_REACHED", "no");

/** A client that refuses everything. `watched`: what is watched now. */
function played() {
  const watched: string[] = [];
  const refuse = vi.fn(async (..._: unknown[]) => {
    throw NO;
  });
  const client = {
    watch(name: string) {
      if (name.includes(" ")) throw new CounterError("COUNTER_VALIDATION_ERROR", "no name");
      watched.push(name);
      return () => void watched.splice(watched.indexOf(name), 1);
    },
    view: () => NOTHING_KNOWN,
    increment: refuse, toggleLike: refuse, call: refuse,
  } as unknown as CounterClient;
  const wrapper = ({ children }: { children: ReactNode }) => createElement(CounterProvider, { client }, children);
  return { client, watched, refuse, wrapper };
}

test("a refusal is of one counter, and not of the next", async () => {
  const { result, rerender } = renderHook(({ name }) => useCounter(name), {
    wrapper: played().wrapper, initialProps: { name: "a" },
  });
  act(() => void result.current.increment().catch(() => {}));
  await waitFor(() => expect(result.current.error).toBe(NO));
  rerender({ name: "b" });
  expect(result.current.error).toBeUndefined();
  rerender({ name: "a" });
  expect(result.current.error).toBe(NO);
});

test("a refusal is of one member, and not of the next", async () => {
  const { result, rerender } = renderHook(({ member }) => useLike("a", member), {
    wrapper: played().wrapper, initialProps: { member: "ann" },
  });
  act(() => void result.current.toggle().catch(() => {}));
  await waitFor(() => expect(result.current.error).toBe(NO));
  rerender({ member: "bob" });
  expect(result.current.error).toBeUndefined();
});

test.each([null, undefined])("%s is a name that is not known yet", async (none) => {
  const { watched, wrapper } = played();
  const { result, rerender } = renderHook(({ name, member }) => ({
    counter: useCounter(name), counters: useCounters(name == null ? name : [name]), like: useLike(name, member), socket: useCounterWebSocket(none),
  }), { wrapper, initialProps: { name: none as string | null | undefined, member: none as string | null | undefined } });
  expect(result.current).toMatchObject({ counters: {}, counter: NOTHING_KNOWN, like: { count: undefined }, socket: { isConnecting: false } });
  for (const refused of [() => result.current.counter.increment(), () => result.current.like.toggle()]) {
    await act(() => expect(refused()).rejects.toBeInstanceOf(CounterError));
  }
  rerender({ name: "a", member: none });
  expect(watched).toEqual(["a", "a"]);
  rerender({ name: "a", member: "ann" });
  expect(watched).toEqual(["a", "a", "a"]);
  rerender({ name: none, member: none });
  expect(watched).toEqual([]);
});

test("a name that none can have leaves no others watched", () => {
  const { watched, wrapper } = played();
  const complained = vi.spyOn(console, "error").mockReturnValue();
  expect(() => renderHook(() => useCounters(["ok:1", "bad name"]), { wrapper })).toThrow("no name");
  complained.mockRestore();
  expect(watched).toEqual([]);
});

// @vitest-environment happy-dom
// The hooks on a client that a test plays.

import { act, cleanup, renderHook, waitFor } from "@testing-library/react";
import { createElement, type ReactNode } from "react";
import { afterEach, expect, test, vi } from "vitest";
import { CounterError, NOTHING_KNOWN, type CounterClient } from "../../src/index.js";
import { CounterProvider, useCounter, useLike } from "../../react/index.js";

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

// Likes on a client that a test plays.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CounterError, type CounterClient } from "../../src/index.js";
import { Like } from "../../src/like.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([[false, 1], [true, 4]])("whether somebody likes it, refused, retryable %s: asked %d times", async (retryable, times) => {
  const call = vi.fn(async () => {
    throw new CounterError("COUNTER_VALIDATION_ERROR", "member: 1 to 200 characters", { retryable });
  });
  const client = { watch: () => () => {}, view: () => ({ value: 1, confirmed: 1 }), call } as unknown as CounterClient;
  const stop = new Like(client, "post:1", "").watch(() => {});
  await vi.advanceTimersByTimeAsync(10_000);
  expect(call).toHaveBeenCalledTimes(times);
  stop();
});

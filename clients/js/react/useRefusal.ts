import { useCallback, useState } from "react";
import type { CounterClient, CounterError } from "../src/index.js";

/** What a hook is about; null or undefined as long as that is not known. */
export type Pending = string | null | undefined;

interface Refusal {
  of: readonly unknown[];
  error: CounterError | undefined;
}

/** The newest refusal of what a hook does to one thing, and how to report one. Another thing begins without. */
export function useRefusal(
  client: CounterClient, name: Pending, member?: Pending,
): [CounterError | undefined, (error?: CounterError) => void] {
  const [last, setLast] = useState<Refusal>();
  const report = useCallback((error?: CounterError) => setLast({ of: [client, name, member], error }), [client, name, member]);
  const same = last?.of.every((each, index) => each === [client, name, member][index]);
  return [same ? last?.error : undefined, report];
}

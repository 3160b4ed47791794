import { useCallback, useMemo, useSyncExternalStore } from "react";
import { NOTHING_KNOWN, type CounterClient, type CounterError, type Enriched, type View } from "../src/index.js";
import { useCounterClient } from "./context.js";
import { useRefusal, type Pending } from "./useRefusal.js";

export interface Operations {
  increment(amount?: number): Promise<Enriched>;
  decrement(amount?: number): Promise<Enriched>;
  setValue(value: number): Promise<Enriched>;
  reset(): Promise<Enriched>;
}

/** A counter, live: what there is to show of it, and what can be done to it. Operations show at once and are taken back
 * when they are refused; `error` is the newest refusal. Their promises need not be waited for. Without a name nothing is
 * watched, and operations are refused. */
export function useCounter(name: Pending): View & Operations & { error: CounterError | undefined } {
  const client = useCounterClient();
  const [error, report] = useRefusal(client, name);
  const watch = useCallback((changed: () => void) => (name == null ? () => {} : client.watch(name, changed)), [client, name]);
  const view = useSyncExternalStore(watch, () => (name == null ? NOTHING_KNOWN : client.view(name)), () => NOTHING_KNOWN);
  const operations = useMemo(() => operationsOf(client, name ?? "", report), [client, name, report]);
  return { ...view, ...operations, error };
}

function operationsOf(client: CounterClient, name: string, report: (error?: CounterError) => void): Operations {
  const told = (answer: Promise<Enriched>): Promise<Enriched> => {
    answer.then(() => report(undefined), report); // Handled here, so nobody else has to.
    return answer;
  };
  return {
    increment: (amount) => told(client.increment(name, amount)),
    decrement: (amount) => told(client.decrement(name, amount)),
    setValue: (value) => told(client.setValue(name, value)),
    reset: () => told(client.reset(name)),
  };
}

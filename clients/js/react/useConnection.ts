import { useMemo, useSyncExternalStore } from "react";
import type { ConnectionState, Metrics, Problem } from "../src/index.js";
import { useCounterClient } from "./context.js";

export interface Connection {
  state: ConnectionState;
  problem: Problem | undefined;
  metrics: Metrics;
  retry: () => void;
}

/** How the connection is, and `retry` for whoever does not want to wait. */
export function useConnection(): Connection {
  const client = useCounterClient();
  const store = useMemo(() => {
    const look = (): Connection => ({
      state: client.state, problem: client.problem, metrics: client.metrics, retry: () => client.retry(),
    });
    let now = look();
    return {
      watch: (changed: () => void) => client.onState(changed),
      read() {
        if (now.state !== client.state || now.problem !== client.problem) now = look();
        return now;
      },
    };
  }, [client]);
  return useSyncExternalStore(store.watch, store.read, store.read);
}

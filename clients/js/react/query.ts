// TanStack Query, kept up to date by a WebSocket.

import { queryOptions, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import type { CounterClient, Described, HistoryItem, Update } from "../src/index.js";
import * as plain from "./useCounterWebSocket.js";

/** Under which keys the answers about a counter are cached. */
export interface CounterKeys {
  getValue(name: string): QueryKey;
  getMetadata(name: string): QueryKey;
  getHistory(name: string): QueryKey;
}

export const counterKeys: CounterKeys = {
  getValue: (name) => ["counter", "getValue", { name }],
  getMetadata: (name) => ["counter", "getMetadata", { name }],
  getHistory: (name) => ["counter", "getHistory", { name }],
};

/** The options of the three queries: `useQuery(counterQueries(client).getValue("votes"))`. */
export function counterQueries(client: CounterClient) {
  const options = <Output>(procedure: keyof CounterKeys, name: string) =>
    queryOptions({
      queryKey: counterKeys[procedure](name),
      queryFn: ({ signal }) => client.call<Output>(procedure, { name }, { signal }),
    });
  return {
    getValue: (name: string) => options<{ name: string; value: number }>("getValue", name),
    getMetadata: (name: string) => options<Described>("getMetadata", name),
    getHistory: (name: string) => options<HistoryItem[]>("getHistory", name),
  };
}

const HISTORY_MS = 250; // A history that is asked for with every event of a busy counter is never read.

/** The plain `useCounterWebSocket`, and the cache follows it: it sets getValue and getMetadata and invalidates
 * getHistory. `keys`: where your queries are, if not under `counterKeys`. */
export function useCounterWebSocket(
  name: string | null | undefined,
  options: plain.CounterWebSocketOptions & { keys?: CounterKeys } = {},
): plain.CounterWebSocketState {
  const { keys = counterKeys, onUpdate } = options;
  const cache = useQueryClient();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  useEffect(() => () => {
    clearTimeout(timer.current);
    timer.current = undefined;
  }, [name, cache]);

  const follow = (update: Update): void => {
    const { value, metadata } = update;
    const { name } = metadata;
    cache.setQueryData(keys.getValue(name), { name, value });
    const gone = metadata.id === 0 || ("reason" in update && update.reason === "deleted");
    if (gone) void cache.invalidateQueries({ queryKey: keys.getMetadata(name) });
    else cache.setQueryData(keys.getMetadata(name), (before?: object) => ({ ...before, ...metadata }));
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      void cache.invalidateQueries({ queryKey: keys.getHistory(name) });
    }, HISTORY_MS);
    onUpdate?.(update);
  };
  return plain.useCounterWebSocket(name, { ...options, onUpdate: follow });
}

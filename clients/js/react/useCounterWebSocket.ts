import { useEffect, useRef, useState } from "react";
import { CounterClient, type ConnectionState, type Problem, type Update } from "../src/index.js";
import { useCounterClient } from "./context.js";
import type { Pending } from "./useRefusal.js";

export interface CounterWebSocketOptions {
  enabled?: boolean;
  /** Called with each event, and with the snapshot that comes first. */
  onUpdate?: ((update: Update) => void) | undefined;
  /** Milliseconds: the first pause after a failure is a random part of this; pauses grow to four times it. */
  reconnectInterval?: number;
  pingInterval?: number;
}

export interface CounterWebSocketState {
  isConnected: boolean;
  isConnecting: boolean;
  error: Error | null;
  lastUpdate: Update | null;
  reconnect: () => void;
  disconnect: () => void;
}

const AT_REST: { state: ConnectionState; problem: Problem | undefined } = { state: "idle", problem: undefined };

/** A connection of its own for one counter, which comes back by itself and misses nothing. None without a name. */
export function useCounterWebSocket(name: Pending, options: CounterWebSocketOptions = {}): CounterWebSocketState {
  const { enabled = true, onUpdate, reconnectInterval = 3000, pingInterval = 30_000 } = options;
  const { options: shared } = useCounterClient();
  const [{ state, problem }, setConnection] = useState(AT_REST);
  const [lastUpdate, setLastUpdate] = useState<Update | null>(null);
  const client = useRef<CounterClient>(undefined);
  const newest = useRef(onUpdate);

  useEffect(() => {
    newest.current = onUpdate;
  });

  useEffect(() => {
    if (!enabled || name == null) return;
    // A key is for one client: two that number their operations alike would be taken for one.
    const { key: _, ...inherited } = shared;
    const reconnect = { base: reconnectInterval, cap: reconnectInterval * 4 };
    const own = (client.current = new CounterClient({ ...inherited, reconnect, pingInterval }));
    const stop = own.onState(() => setConnection({ state: own.state, problem: own.problem }));
    own.watch(name, (_, update) => {
      if (!update) return;
      setLastUpdate(update);
      newest.current?.(update);
    });
    return () => {
      stop();
      own.close();
      client.current = undefined;
      setConnection(AT_REST);
      setLastUpdate(null);
    };
  }, [name, enabled, reconnectInterval, pingInterval, shared]);

  const [calls] = useState(() => ({
    reconnect: () => client.current?.retry(),
    disconnect: () => client.current?.close(),
  }));
  const error = problem ? new Error(problem.message) : null;
  return { isConnected: state === "open", isConnecting: state === "connecting", error, lastUpdate, ...calls };
}

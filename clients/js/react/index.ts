// Hooks for React 18 and newer. Rendering on a server opens nothing and shows what is not known yet.

export { CounterProvider, useCounterClient } from "./context.js";
export { useConnection, type Connection } from "./useConnection.js";
export { useCounter, type Operations } from "./useCounter.js";
export { useCounters, type Views } from "./useCounters.js";
export { useLike } from "./useLike.js";
export { useCounterWebSocket, type CounterWebSocketOptions, type CounterWebSocketState } from "./useCounterWebSocket.js";

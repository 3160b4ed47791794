// Durable Counters for browsers, and for whatever else has a WebSocket.
//
// `CounterClient` is one connection for many counters that looks after itself; `createCounterWebSocket` a plain socket
// to one. `core/` decides and does nothing else: no socket, no timer, no clock.

export { call, newKey, type CallOptions } from "./call.js";
export { CounterClient, type ClientOptions, type ConnectionState, type Watcher } from "./client.js";
export { NOTHING_KNOWN, type View } from "./core/counter.js";
export type { ReconnectOptions } from "./core/reconnect.js";
export type { Problem, ProblemKind } from "./diagnose.js";
export { CounterError } from "./errors.js";
export type { Metrics } from "./metrics.js";
export { closeWebSocket, createCounterWebSocket, sendPing, type CounterSocketOptions } from "./socket.js";
export { isName, type CounterEvent, type Described, type Enriched, type HistoryItem, type Liked, type Metadata, type Policy, type Snapshot, type Update } from "./wire.js";

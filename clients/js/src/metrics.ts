// What a connection can tell about itself.

export interface Metrics {
  /** Messages that were understood, and messages sent. */
  received: number;
  sent: number;
  /** Messages that were not understood. */
  nonsense: number;
  /** Events that were known already, and places where events were missing. */
  repeated: number;
  gaps: number;
  /** Connections after the first, ends of connections that nobody asked for, operations sent more than once. */
  reconnects: number;
  drops: number;
  resends: number;
  /** Operations refused or given up, and errors that belong to no operation. */
  errors: number;
  /** Milliseconds from a ping to its pong: the last, and a mean that follows slowly. */
  latency: number | undefined;
  meanLatency: number | undefined;
  /** Milliseconds that the service's clock is ahead of ours. */
  clockAhead: number;
}

export const newMetrics = (): Metrics => ({
  received: 0, sent: 0, nonsense: 0, repeated: 0, gaps: 0, reconnects: 0, drops: 0, resends: 0, errors: 0,
  latency: undefined, meanLatency: undefined, clockAhead: 0,
});

/** A pong has come, `elapsed` milliseconds after its ping; `theirs` and `ours` are the clocks' milliseconds. */
export function measured(metrics: Metrics, elapsed: number, theirs: number, ours: number): void {
  metrics.latency = elapsed;
  metrics.meanLatency = metrics.meanLatency === undefined ? elapsed : metrics.meanLatency * 0.8 + elapsed * 0.2;
  if (Number.isFinite(theirs)) metrics.clockAhead = Math.round(theirs + elapsed / 2 - ours);
}

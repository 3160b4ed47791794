// What the service sends and what it is told: the types of docs/wire.md, and the reading of messages.

/** An operation that changes a counter. */
export type OperationType = "increment" | "decrement" | "setValue" | "reset";

/** An operation on a counter of likes, by one of its members. */
export type LikeType = "like.add" | "like.remove" | "like.toggle";

/** What is known about a counter; for one never written `id` is 0 and the times are null. */
export interface Metadata {
  id: number;
  name: string;
  value: number;
  createdAt: string | null;
  updatedAt: string | null;
  operationCount: number;
}

/** What a counter may be, what is kept of its past, and when it resets itself. */
export interface Policy {
  minimum: number;
  maximum: number | null;
  on_limit: "clamp" | "reject";
  initial: number;
  /** Seconds without an operation; a cron expression; and what they set, null for `initial`. */
  reset_after: number | null;
  reset_schedule: string | null;
  reset_to: number | null;
  history_limit: number | null;
  /** In seconds. */
  history_max_age: number | null;
  /** What becomes of a schedule's reset that came while the service was down. */
  missed: "once" | "skip";
  likes: boolean;
}

/** What `getMetadata` says: what the counter may be, and when it resets itself next, if it will. */
export interface Described extends Metadata {
  policy: Policy;
  resetsAt?: string;
}

/** One operation of anybody, made durable. */
export interface CounterEvent {
  type: OperationType;
  value: number;
  previousValue: number;
  metadata: Metadata;
  timestamp: string;
  /** Why it was reset or set: `manual`, `inactivity`, `schedule`, `deleted`, `sync`; of a like, what was asked for. */
  reason?: string;
  /** Whose like it was. */
  member?: string;
  /** How many operations this event stands for, if more than one. */
  operations?: number;
}

/** The state as it is, in place of events. */
export interface Snapshot {
  type: "snapshot";
  value: number;
  metadata: Metadata;
  timestamp: string;
}

/** What a watcher of a counter is told. */
export type Update = CounterEvent | Snapshot;

export interface HistoryItem {
  id: number;
  operation: string;
  previousValue: number;
  newValue: number;
  timestamp: string;
  /** As in events; only `getHistory` tells it. */
  reason?: string | null;
}

/** The state after an operation of ours. */
export interface Enriched {
  name: string;
  value: number;
  previousValue: number;
  metadata: Metadata;
  latestHistory: HistoryItem[];
  timestamp: string;
}

/** The state after a like of ours. */
export interface Liked {
  success: boolean;
  name: string;
  newCount: number;
  isLiked: boolean;
  metadata: Metadata;
}

/** What every result says. */
export interface Result {
  value: number;
  metadata: Metadata;
}

export type Message =
  | { kind: "update"; update: Update }
  | { kind: "result"; id: string | undefined; result: Result }
  | { kind: "error"; id: string | undefined; code: string; message: string; retryable: boolean; data?: unknown }
  | { kind: "pong"; timestamp: string | undefined };

const EVENTS = new Set(["increment", "decrement", "setValue", "reset", "snapshot"]);
const NAME = /^[\w.:-]{1,100}$/;

/** What a counter can be called: 1 to 100 letters, digits and `_ - . :`, but neither `.` nor `..`. */
export const isName = (name: unknown): name is string =>
  typeof name === "string" && NAME.test(name) && name !== "." && name !== "..";

/** Read a message. Null for whatever is none: a proxy, another service or a bug speaks. */
export function read(data: unknown): Message | null {
  if (data === "pong") return { kind: "pong", timestamp: undefined };
  let message;
  try {
    message = JSON.parse(data as string);
  } catch {
    return null;
  }
  const type = message?.type;
  if (typeof type !== "string") return null;
  if (EVENTS.has(type)) return isState(message) ? { kind: "update", update: message as unknown as Update } : null;
  const { id, timestamp, code, result } = message;
  if (type === "pong") return { kind: "pong", timestamp };
  if (type === "error") {
    if (typeof code !== "string") return null;
    return { kind: "error", id, code, message: `${message.message}`, retryable: message.retryable === true, data: message.data };
  }
  if (type.endsWith("Result") && result) {
    const state = { value: result.newCount, ...result }; // A like says it in its own word.
    if (isState(state)) return { kind: "result", id, result: state };
  }
  return null;
}

function isState(state: { value?: unknown; metadata?: Partial<Metadata> } | undefined): boolean {
  const { id, name, operationCount } = state?.metadata ?? {};
  return [state?.value, id, operationCount].every(Number.isSafeInteger) && isName(name);
}

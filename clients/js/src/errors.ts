// What can go wrong, and whether it is worth another try.

/** Why an operation or a call did not succeed. */
export class CounterError extends Error {
  override readonly name = "CounterError";
  /** The service's word for it (`LIMIT_REACHED`, …), or one of ours: `OUTBOX_FULL`, `CLOSED`, `REFUSED`, `NO_ANSWER`,
   * `UNUSABLE` (no connection can be made with what the client was given), `NO_URL`, `NONSENSE`
   * (something else answers in place of the service), `HTTP_<status>`. */
  readonly code: string;
  /** Whether the same may succeed when it is tried again. */
  readonly retryable: boolean;
  /** Whether it may have been applied all the same. Without this, nothing has changed. */
  readonly uncertain: boolean;
  readonly data: unknown;

  constructor(code: string, message: string, more: { retryable?: boolean; uncertain?: boolean; data?: unknown } = {}) {
    super(message);
    this.code = code;
    this.retryable = more.retryable ?? false;
    this.uncertain = more.uncertain ?? false;
    this.data = more.data;
  }
}

/** What the end of a connection means for the next one.
 * `restart`: the gateway stops and says when to come back. `transient`: come back with growing pauses.
 * `refused`: the service does not want this client; only a person can change that. */
export type Category = "restart" | "transient" | "refused";

export function categorize(code: number): Category {
  if (code === 1012) return "restart";
  // 1008 is a policy's word; 4400 to 4499 mirror the HTTP statuses of a client's mistakes. Two of those pass: 408 and 429.
  return code === 1008 || (code >= 4400 && code < 4500 && code !== 4408 && code !== 4429) ? "refused" : "transient";
}

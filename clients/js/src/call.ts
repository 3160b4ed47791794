// A procedure over HTTP, for what no WebSocket is needed for: lists, histories, making and deleting.

import { httpUrl } from "./address.js";
import { CounterError } from "./errors.js";

export interface CallOptions {
  url?: string | undefined;
  /** Names the operation: repeated, it is applied once. A random one unless given. */
  key?: string;
  /** Milliseconds to wait for an answer, and how often to ask. */
  timeout?: number;
  attempts?: number;
  signal?: AbortSignal;
  fetch?: typeof fetch | undefined;
  random?: () => number;
}

const PAUSE_MS = 300;
const RETRY_AFTER_MAX_S = 300; // Who asks for more is misunderstood.

/** A text that nobody else has chosen. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Call `counter.<procedure>`, or another by its full name (`like.getCounts`), a few times if need be, and not sooner than
 * the service says: the key stays the same, so it is done once.
 * Rejects with CounterError; `uncertain` if it may have been done all the same. */
export async function call<Output>(procedure: string, input: object, options: CallOptions = {}): Promise<Output> {
  const { attempts = 3, random = Math.random } = options;
  const key = options.key ?? newKey();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once<Output>(procedure, input, key, options);
    } catch (error) {
      if (!(error instanceof CounterError && error.retryable && attempt < attempts)) throw error;
      const pause = Math.max((error as Failure).after ?? 0, random() * PAUSE_MS * 2 ** attempt);
      await new Promise((resolve) => setTimeout(resolve, pause));
      options.signal?.throwIfAborted();
    }
  }
}

/** `after`: milliseconds that the service wants us to wait. */
type Failure = CounterError & { after?: number };

async function once<Output>(procedure: string, input: object, key: string, options: CallOptions): Promise<Output> {
  const { timeout = 15_000, signal } = options;
  let answer, body;
  try {
    answer = await (options.fetch ?? fetch)(`${httpUrl(options.url)}/rpc/${procedure.includes(".") ? "" : "counter."}${procedure}`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify(input),
      signal: signal ? AbortSignal.any([signal, AbortSignal.timeout(timeout)]) : AbortSignal.timeout(timeout),
    });
    body = await answer.json();
  } catch (error) {
    if (error instanceof CounterError || signal?.aborted) throw error;
    // A whole page where JSON belongs is a login page or another service, and will be one the next time.
    if (answer?.ok && error instanceof SyntaxError) {
      throw new CounterError("NONSENSE", "something else answers in place of the service", { uncertain: true });
    }
    const status = answer && !answer.ok ? `HTTP_${answer.status}` : "NO_ANSWER";
    throw later(answer, new CounterError(status, "the service gave no answer", { retryable: true, uncertain: true }));
  }
  if (answer.ok) return body;
  const { code = `HTTP_${answer.status}`, message = answer.statusText, retryable, data } = body?.error ?? {};
  const again = retryable === true || (retryable === undefined && answer.status >= 500);
  throw later(answer, new CounterError(code, message, { retryable: again, uncertain: again, data }));
}

function later(answer: Response | undefined, error: Failure): Failure {
  const seconds = Number(answer?.headers.get("retry-after"));
  if (seconds > 0 && seconds <= RETRY_AFTER_MAX_S) error.after = seconds * 1000;
  return error;
}

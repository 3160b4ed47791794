// Why no WebSocket comes about. A browser does not say, so HTTP is asked.

import { httpUrl } from "./address.js";

/** `offline`: this device has no network. `unreachable`: nobody answers. `unavailable`: the service says it cannot.
 * `blocked`: the service is well over HTTP, so something on the way does not let WebSockets through.
 * `refused`: the service does not want us. `redirected`: something else answers, a login page for example.
 * `unusable`: the client was given an address that is none, or has no WebSocket. */
export type ProblemKind = "offline" | "unreachable" | "unavailable" | "blocked" | "refused" | "redirected" | "unusable";

export interface Problem {
  kind: ProblemKind;
  /** For a person to read. */
  message: string;
}

const MESSAGES: Record<Exclude<ProblemKind, "unusable">, string> = {
  offline: "This device is offline.",
  unreachable: "The service does not answer.",
  unavailable: "The service is not available at the moment.",
  blocked: "Something on the way, such as a proxy, blocks WebSocket connections.",
  refused: "The service refuses this connection (see --allowed-origins).",
  redirected: "Something else answers. Perhaps the network wants you to sign in.",
};

export const problem = (kind: keyof typeof MESSAGES): Problem => ({ kind, message: MESSAGES[kind] });

/** Ask the WebSocket route over plain HTTP: a service that is well answers 426, and 403 to a page that it does
 * not want. */
export async function diagnose(url: string | undefined, ask: typeof fetch, timeout: number): Promise<Problem> {
  if (globalThis.navigator?.onLine === false) return problem("offline");
  try {
    const { status, type } = await ask(`${httpUrl(url)}/ws`, {
      redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(timeout),
    });
    if (status === 426) return problem("blocked");
    if (type === "opaqueredirect" || (status >= 300 && status < 400)) return problem("redirected");
    if (status === 401 || status === 403) return problem("refused");
    return problem(status >= 500 ? "unavailable" : "redirected");
  } catch {
    return problem("unreachable");
  }
}

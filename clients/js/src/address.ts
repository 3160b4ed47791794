// Where the service is.

import { CounterError } from "./errors.js";
import { isName } from "./wire.js";

/** The service's HTTP address without a slash at its end: the page's own origin, unless told otherwise. `host:port` will
 * do, as for the other clients. */
export function httpUrl(url?: string): string {
  const given = url ?? globalThis.location?.origin;
  if (!given || given === "null") throw new CounterError("NO_URL", "say where the service is, as `url`");
  return given.replace(/\/+$/, "").replace(/^(?!.*:\/\/|[/.])/, "http://").replace(/^ws/i, "http");
}

/** The same as `ws:` or `wss:`, with a path and the parameters that are not undefined. */
export function wsUrl(url: string | undefined, path: string, parameters: Record<string, unknown> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, `${value}`);
  return `${httpUrl(url).replace(/^http/i, "ws")}${path}${query.size ? `?${query}` : ""}`;
}

/** `name` itself. Throws when no counter can be called that. */
export function checked(name: string): string {
  if (isName(name)) return name;
  throw new CounterError("COUNTER_VALIDATION_ERROR", "a name has 1 to 100 letters, digits and _ - . :", {
    data: { field: "name" },
  });
}

// When to try again. No clock, no timer, no chance: they come in as numbers.

import { categorize } from "../errors.js";

export interface ReconnectOptions {
  /** The first pause is a random part of this many milliseconds; it doubles with every failure. */
  base?: number;
  /** No pause before the circuit opens is longer. */
  cap?: number;
  /** When so many milliseconds of pauses have not helped the circuit opens: from then on one try every `cooldown`. */
  breakAfter?: number;
  cooldown?: number;
}

const WINDOW_MAX_S = 300; // A service that asks for more is misunderstood.
const STABLE_MS = 5_000; // A connection that worked for so long was a success; what ends sooner must not be hurried.

/** Counts failures and says how long to pause: full jitter, the service's window, and a circuit breaker. */
export class Reconnect {
  failures = 0;
  private paused = 0; // Milliseconds since the last success.
  private readonly options: Required<ReconnectOptions>;

  constructor(options: ReconnectOptions = {}) {
    this.options = { base: 500, cap: 15_000, breakAfter: 120_000, cooldown: 60_000, ...options };
  }

  /** Whether so much has failed that trying often would only make it worse. */
  get broken(): boolean {
    return this.paused >= this.options.breakAfter;
  }

  /** A connection, or the attempt at one, has ended. Returns the pause in milliseconds.
   * `lived`: how long it worked; `chance`: random, from 0 to 1. */
  ended(code: number, reason: string, lived: number, chance: number): number {
    if (lived >= STABLE_MS) this.reset();
    this.failures += 1;
    const window = categorize(code) === "restart" ? readWindow(reason) : null;
    // The window is for everybody who was there; whoever it did not help backs off beyond it.
    const asked = window ? window[0] + chance * (window[1] - window[0]) : 0;
    const pause = window && this.failures === 1 ? asked : Math.max(asked, this.pause(chance));
    this.paused += pause;
    return pause;
  }

  /** Somebody asks for it, or the network is back: begin again with short pauses. */
  reset(): void {
    this.failures = this.paused = 0;
  }

  private pause(chance: number): number {
    const { base, cap, cooldown } = this.options;
    // Half of the cooldown is certain: a circuit that may close at once is none.
    if (this.broken) return cooldown * (0.5 + chance / 2);
    return chance * Math.min(cap, base * 2 ** (this.failures - 1));
  }
}

/** `{"reconnect":[0,5]}` as milliseconds; null if it is not that. */
export function readWindow(reason: string): [number, number] | null {
  let window;
  try {
    window = JSON.parse(reason)?.reconnect;
  } catch {
    return null;
  }
  if (!Array.isArray(window)) return null;
  const [from, to] = window;
  const fits = Number.isFinite(from) && Number.isFinite(to) && from >= 0 && from <= to && to <= WINDOW_MAX_S;
  return fits ? [from * 1000, to * 1000] : null;
}

// What every view shares: the one connection, the state that came with the page, and the service's clock.

import { CounterClient, CounterError } from "../src/index.js";

export const counters = new CounterClient({ reconnect: { base: 300, cap: 8_000 } });

const state = JSON.parse(byId("state").textContent!);

/** What the service put into the page for its view. */
export const given = state.data;

const loadedAhead = Date.parse(state.now) - Date.now();

/** Now, by the service's clock: this device's may be off by a day. */
export const now = (): number => Date.now() + (counters.metrics.latency === undefined ? loadedAhead : counters.metrics.clockAhead);

export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** Make an element: with text, never with markup. */
export function element(tag: string, className = "", text = ""): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** What went wrong, for a person. */
export function explain(error: unknown): string {
  if (!(error instanceof CounterError)) return "That did not work.";
  const said = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return error.uncertain ? `${said}. It may have been applied.` : `${said}.`;
}

/** Call `repeat` now and then, for as long as somebody looks. */
export function whileVisible(every: number, repeat: () => unknown): void {
  const go = () => document.hidden || repeat();
  setInterval(go, every);
  document.addEventListener("visibilitychange", go);
}

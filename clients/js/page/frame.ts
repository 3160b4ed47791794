// What is around every view: the state of the connection, the banner, the theme, messages, and questions.

import { byId, counters, explain, whileVisible } from "./service.js";

const WORDS = { idle: "Ready", connecting: "Connecting", open: "Live", waiting: "Reconnecting", closed: "Disconnected" };
const BANNER_MS = 1_500; // A connection that is back sooner was no news.
const TOAST_MS = 4_000;

let banner: ReturnType<typeof setTimeout> | undefined;
let toasting: ReturnType<typeof setTimeout> | undefined;
const waiting = new Set<string>(); // Counters with operations that have no answer.

/** A setText that does not make a screen reader repeat what has not changed. */
export function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function showConnection(): void {
  const offline = !navigator.onLine;
  const { state, metrics: { meanLatency } } = counters;
  const down = state === "waiting" || state === "closed" || offline;
  const pill = byId("connection");
  pill.dataset.state = offline ? "closed" : state;
  setText(byId("connection-text"), offline ? "Offline" : WORDS[state]);
  pill.title = state === "open" && meanLatency !== undefined ? `${meanLatency.toFixed(meanLatency < 10 ? 1 : 0)} ms to the service` : "";
  if (state === "open" && !offline) {
    clearTimeout(banner);
    banner = undefined;
    byId("banner").hidden = true;
  } else if (!byId("banner").hidden) describe();
  else if (down || counters.problem) {
    banner ??= setTimeout(() => {
      byId("banner").hidden = false;
      describe();
    }, offline ? 0 : BANNER_MS);
  }
}

function describe(): void {
  const why = navigator.onLine ? (counters.problem?.message ?? "The connection is lost; trying to get it back.") : "You are offline.";
  const rest = waiting.size ? "What you have changed is kept, and sent when the connection is back." : "Values are from before.";
  setText(byId("banner-text"), `${why} ${rest}`);
}

/** Know that a counter has operations that wait, or none. */
export function notePending(name: string, pending: number): void {
  const before = waiting.size;
  if (pending) waiting.add(name);
  else waiting.delete(name);
  if (waiting.size !== before && !byId("banner").hidden) describe();
}

/** A short word that goes by itself. */
export function toast(text: string): void {
  const shown = byId("toast");
  shown.textContent = text;
  shown.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => (shown.hidden = true), TOAST_MS);
}

/** Ask before something that cannot be undone. */
export function confirmed(title: string, text: string, yes: string, danger = false): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  byId("confirm-yes").classList.toggle("danger", danger);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

/** Do it, and say at `place` what went wrong, if something did. */
export async function attempt(place: HTMLElement, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
    setText(place, "");
  } catch (error) {
    setText(place, explain(error));
  }
}

function switchTheme(): void {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
  // A cookie, so that the next page has the right colours from its first moment.
  document.cookie = `theme=${dataset.theme}; path=/; max-age=31536000; samesite=lax`;
}

export function startFrame(view: string): void {
  document.querySelector(`[data-page="${view}"]`)?.setAttribute("aria-current", "page");
  byId("theme").addEventListener("click", switchTheme);
  byId("banner-retry").addEventListener("click", () => counters.retry());
  counters.onState(showConnection);
  addEventListener("online", showConnection);
  addEventListener("offline", showConnection);
  whileVisible(5_000, showConnection);
  setTimeout(showConnection); // By then the view has said what it wants to watch.
}

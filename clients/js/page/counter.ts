// One counter.

import { type CounterEvent, type HistoryItem, type Described, type Policy, type Update, type View } from "../src/index.js";
import { Chart } from "./chart.js";
import { Figure } from "./figure.js";
import { number, remaining, timeOfDay, typed } from "./format.js";
import { attempt, confirmed, notePending, setText, toast } from "./frame.js";
import { ofEvent, ofItem, Timeline, type Happening } from "./history.js";
import { startLike } from "./like.js";
import { byId, counters, given, now, whileVisible } from "./service.js";

const RANGES: [string, number][] = [["1 min", 60_000], ["15 min", 900_000], ["1 h", 3_600_000], ["24 h", 86_400_000], ["30 d", 2_592_000_000]];
const WATCHING_MS = 4_000;
const METADATA_MS = 1_000; // After a change, when the next reset is asked for.
const HISTORY = 100;
const USUAL: Policy = { // What a counter may be, unless the service says otherwise.
  minimum: 0, maximum: null, on_limit: "clamp", initial: 0, reset_after: null, reset_schedule: null, reset_to: null,
  history_limit: 100_000, history_max_age: null, missed: "once", likes: false,
};

export function startCounter(): void {
  const name = byId("counter").dataset.name!;
  const figure = new Figure();
  const timeline = new Timeline();
  const chart = new Chart(byId("chart"));
  const problem = byId("problem");
  const minus = byId("minus");
  let metadata: Described | null = given.metadata;
  let value = 0;
  let liking = false;
  let asking: ReturnType<typeof setTimeout> | undefined;

  // The past

  function begin(items: HistoryItem[]): void {
    const past = items.map(ofItem);
    timeline.clear();
    timeline.append(past);
    byId("older").hidden = past.length < HISTORY;
    const oldest = past.at(-1);
    const points = past.reverse().map((each) => ({ at: each.at, value: each.to, operations: 1 }));
    if (oldest) points.unshift({ at: oldest.at - 1, value: oldest.from, operations: 0 });
    chart.begin(points);
  }

  async function older(): Promise<void> {
    const before = timeline.oldest;
    if (before === undefined) return;
    const items = await counters.call<HistoryItem[]>("getHistory", { name, before, limit: HISTORY });
    timeline.append(items.map(ofItem));
    byId("older").hidden = items.length < HISTORY;
  }

  /** The past is not known without a gap any more. */
  async function reread(): Promise<void> {
    const items = await counters.call<HistoryItem[]>("getHistory", { name, limit: HISTORY }).catch(() => []);
    begin(items);
  }

  // The present

  function show(view: View, update?: Update): void {
    notePending(name, view.pending);
    if (view.value !== undefined) {
      value = view.value;
      figure.show(value);
      minus.setAttribute("aria-disabled", `${value <= (metadata?.policy.minimum ?? 0)}`);
    }
    byId("counter").toggleAttribute("data-pending", view.pending > 0);
    if (!update) return;
    if (update.type === "snapshot") {
      // What came with the page is as new, or events were missed that nobody replays.
      if (update.metadata.operationCount !== (metadata?.operationCount ?? 0) || update.metadata.id !== (metadata?.id ?? 0)) void reread();
      void countWatching();
    } else happened(ofEvent(update as CounterEvent));
    const gone = update.metadata.id === 0 || (update as CounterEvent).reason === "deleted";
    metadata = gone ? null : { policy: USUAL, ...metadata, ...update.metadata };
    if ((update as CounterEvent).member !== undefined) metadata!.policy = { ...metadata!.policy, likes: true };
    offer();
    askLater();
  }

  function happened(happening: Happening): void {
    if (happening.id === 1) {
      timeline.clear(); // A counter made anew has a history of its own.
      byId("older").hidden = true;
    }
    timeline.add(happening);
    chart.add({ at: happening.at, value: happening.to, operations: happening.count });
    const at = timeOfDay(happening.at);
    if (happening.reason === "inactivity") notice(`Reset to ${number(happening.to)} at ${at}, because nobody had used it for a while.`);
    else if (happening.reason === "schedule") notice(`Reset to ${number(happening.to)} at ${at}, on schedule.`);
    else if (happening.reason === "deleted") notice(`Deleted at ${at}. The next change makes a new counter of this name.`);
  }

  function notice(text: string): void {
    setText(byId("notice-text"), text);
    byId("notice").hidden = false;
  }

  // The next reset

  function askLater(): void {
    asking ??= setTimeout(async () => {
      asking = undefined;
      if (document.hidden || !metadata) return;
      metadata = await counters.call<Described>("getMetadata", { name }, { attempts: 1 }).catch(() => metadata);
      minus.setAttribute("aria-disabled", `${value <= (metadata?.policy.minimum ?? 0)}`);
      offer();
      countDown();
    }, METADATA_MS);
  }

  function countDown(): void {
    const left = Date.parse(metadata?.resetsAt ?? "") - now();
    byId("countdown").hidden = !(left > -5_000);
    const unless = metadata?.policy.reset_schedule ? "" : " unless somebody uses it"; // No use puts off a schedule.
    setText(byId("countdown"), left > 0 ? `Resets in ${remaining(left)}${unless}` : "Resetting …");
  }

  async function countWatching(): Promise<void> {
    const answer = await counters.call<{ count: number }>("getSessions", { name, limit: 1 }, { attempts: 1 }).catch(() => null);
    const place = byId("watching");
    place.hidden = !answer?.count;
    if (answer) setText(place, `${number(answer.count)} watching`);
  }

  // What can be done

  /** Likes are liked, everything else is counted. */
  function offer(): void {
    const likes = metadata?.policy.likes ?? false;
    byId("like").hidden = !likes;
    byId("controls").hidden = byId("set").hidden = likes;
    if (likes && !liking) startLike(name);
    liking ||= likes;
  }

  function change(by: 1 | -1): void {
    const field = byId<HTMLInputElement>("amount");
    const amount = typed(field.value);
    const fits = amount >= 1;
    field.setAttribute("aria-invalid", `${!fits}`);
    if (!fits) return setText(problem, "An amount is a whole number of at least 1.");
    if (by < 0 && minus.getAttribute("aria-disabled") === "true") return;
    void attempt(problem, () => (by > 0 ? counters.increment(name, amount) : counters.decrement(name, amount)));
  }

  function set(event: Event): void {
    event.preventDefault();
    const field = byId<HTMLInputElement>("target");
    const target = typed(field.value);
    field.setAttribute("aria-invalid", `${Number.isNaN(target)}`);
    if (Number.isNaN(target)) return setText(problem, "A value is a whole number within ±9,007,199,254,740,991.");
    field.value = "";
    void attempt(problem, () => counters.setValue(name, target));
  }

  async function reset(): Promise<void> {
    if (!(await confirmed(`Reset ${name}?`, `It is ${number(value)} now. Its history stays.`, "Reset"))) return;
    void attempt(problem, () => counters.reset(name));
  }

  async function remove(): Promise<void> {
    if (!(await confirmed(`Delete ${name}?`, "Its value and its history are gone for everybody.", "Delete", true))) return;
    void attempt(problem, () => counters.call("delete", { name }));
  }

  async function share(): Promise<void> {
    const { href: url } = location;
    if (navigator.share && matchMedia("(pointer: coarse)").matches) return void navigator.share({ title: name, url }).catch(() => {});
    try {
      await navigator.clipboard.writeText(url);
      toast("The link is copied.");
    } catch {
      toast(url); // Without a clipboard, as outside of https, it can be copied by hand.
    }
  }

  function key(event: KeyboardEvent): void {
    const busy = event.target instanceof HTMLInputElement || byId<HTMLDialogElement>("confirm").open;
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    if (metadata?.policy.likes) return;
    if (event.key === "+") change(1);
    else if (event.key === "-") change(-1);
  }

  const oldest = given.history.at(-1);
  const age = oldest ? now() - Date.parse(oldest.timestamp) : 0;
  chart.span = (RANGES.find(([, span]) => span >= age) ?? RANGES[0]!)[1];
  for (const [label, span] of RANGES) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-pressed", `${span === chart.span}`);
    button.addEventListener("click", () => {
      for (const other of byId("ranges").children) other.setAttribute("aria-pressed", `${other === button}`);
      chart.span = span;
      chart.draw();
    });
    byId("ranges").append(button);
  }

  byId("plus").addEventListener("click", () => change(1));
  minus.addEventListener("click", () => change(-1));
  byId("set").addEventListener("submit", set);
  byId("reset").addEventListener("click", reset);
  byId("delete").addEventListener("click", remove);
  byId("share").addEventListener("click", share);
  byId("older").addEventListener("click", () => void attempt(problem, older));
  byId("notice-close").addEventListener("click", () => (byId("notice").hidden = true));
  addEventListener("keydown", key);

  begin(given.history);
  offer();
  countDown();
  counters.watch(name, show);
  whileVisible(WATCHING_MS, countWatching);
  whileVisible(1_000, () => {
    countDown();
    timeline.tell();
    chart.draw();
  });
}

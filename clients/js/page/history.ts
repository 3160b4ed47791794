// What happened to a counter, newest first.

import type { CounterEvent, HistoryItem } from "../src/index.js";
import { age, number, signed, whole } from "./format.js";
import { byId, element, now } from "./service.js";

const SHOWN_MAX = 500; // Of a busy counter; older ones can be asked for.

/** One thing that happened; `count` operations that were told as one. */
export interface Happening {
  id: number;
  type: string;
  from: number;
  to: number;
  at: number;
  count: number;
  reason?: string | undefined;
}

export function ofItem({ id, operation, previousValue, newValue, timestamp, reason }: HistoryItem): Happening {
  const type = operation.split("(")[0]!;
  return { id, type, from: previousValue, to: newValue, at: Date.parse(timestamp), count: 1, reason: reason ?? undefined };
}

export function ofEvent({ type, value, previousValue, metadata, timestamp, reason, operations = 1 }: CounterEvent): Happening {
  return {
    id: metadata.operationCount, type, from: previousValue, to: value, at: Date.parse(timestamp), count: operations, reason,
  };
}

const REASONS: Record<string, string> = {
  inactivity: "Reset: nobody had used it",
  schedule: "Reset: on schedule",
  deleted: "Deleted",
  sync: "Synchronized",
};

const SIGNS: Record<string, string> = { increment: "+", decrement: "−", setValue: "=", reset: "↺" };

function describe({ type, from, to, count, reason }: Happening): string {
  if (reason && REASONS[reason]) return REASONS[reason]!;
  if (count > 1) return `${number(count)} changes, ${signed(to - from) || "0"}`;
  if (reason?.startsWith("like.")) return type === "increment" ? "Liked" : "Like taken back";
  if (type === "setValue") return "Set";
  if (type === "reset") return "Reset";
  return from === to ? (type === "increment" ? "At the maximum" : "At the minimum") : signed(to - from);
}

export class Timeline {
  private readonly list = byId("history");

  /** Something has just happened. */
  add(happening: Happening): void {
    this.list.querySelector(".empty")?.remove();
    this.list.prepend(this.line(happening, true));
    while (this.list.children.length > SHOWN_MAX) this.list.lastElementChild!.remove();
  }

  /** What happened before all that is shown. */
  append(happenings: Happening[]): void {
    this.list.append(...happenings.map((each) => this.line(each, false)));
    if (!this.list.children.length) this.list.append(element("li", "empty", "Nothing has happened yet."));
  }

  clear(): void {
    this.list.replaceChildren();
  }

  /** The id of the oldest that is shown. */
  get oldest(): number | undefined {
    const id = (this.list.lastElementChild as HTMLElement | null)?.dataset.id;
    return id === undefined ? undefined : Number(id);
  }

  /** Say anew how long ago everything was. */
  tell(): void {
    for (const time of this.list.querySelectorAll("time")) {
      const text = age(Date.parse(time.dateTime), now());
      if (text === time.textContent) continue;
      time.textContent = text;
    }
  }

  private line(happening: Happening, fresh: boolean): HTMLElement {
    const line = element("li", fresh ? "fresh" : "");
    line.dataset.id = `${happening.id}`;
    const sign = element("span", `sign ${happening.type}`, SIGNS[happening.type] ?? "·");
    sign.setAttribute("aria-hidden", "true");
    const time = element("time", "", age(happening.at, now())) as HTMLTimeElement;
    time.dateTime = new Date(happening.at).toISOString();
    time.title = whole(happening.at);
    line.append(sign, element("span", "what", describe(happening)), element("span", "to", number(happening.to)), time);
    return line;
  }
}

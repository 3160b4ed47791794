// The large value: each digit that changes slides in, from below when it grows and from above when it shrinks.

import { byId, element } from "./service.js";
import { number, signed, size } from "./format.js";

const FAST_MS = 140; // Changes that come faster are shown without a slide.
const SPOKEN_MS = 800; // Somebody who listens wants to hear where it ended, not every step.
const CHANGE_MS = 1_600;

export class Figure {
  private readonly digits = byId("digits");
  private readonly spoken = byId("spoken");
  private readonly change = byId("change");
  private shown: bigint | undefined;
  private shownAt = 0;
  private since: bigint | undefined; // The value before the changes that are being added up.
  private speaking: ReturnType<typeof setTimeout> | undefined;
  private fading: ReturnType<typeof setTimeout> | undefined;

  show(value: number | bigint): void {
    const next = BigInt(value);
    const before = this.shown;
    if (next === before) return;
    this.shown = next;
    const text = number(next);
    const at = performance.now();
    const calm = before === undefined || at - this.shownAt < FAST_MS;
    this.shownAt = at;
    this.draw(text, calm ? "" : next > before ? "up" : "down");
    if (before !== undefined) this.tell(before, next);
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      if (this.spoken.textContent !== text) this.spoken.textContent = text;
    }, SPOKEN_MS);
  }

  private draw(text: string, direction: string): void {
    const { digits } = this;
    digits.parentElement!.dataset.size = size(text);
    const old = digits.textContent!.padStart(text.length);
    const changed = old.length !== text.length;
    digits.replaceChildren(...[...text].map((character, index) => {
      const slides = direction && (changed || character !== old[index]) && character !== ",";
      return element("span", slides ? `digit ${direction}` : "digit", character);
    }));
  }

  private tell(before: bigint, next: bigint): void {
    this.since ??= before;
    const difference = next - this.since;
    this.change.textContent = difference ? signed(Number(difference)) : "\u00a0";
    this.change.dataset.direction = difference > 0n ? "up" : "down";
    clearTimeout(this.fading);
    this.fading = setTimeout(() => {
      this.since = undefined;
      delete this.change.dataset.direction;
    }, CHANGE_MS);
  }
}

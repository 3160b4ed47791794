// What a client knows of one counter: where it stands in the sequence of events, and what to show.

import type { Metadata, Update } from "../wire.js";
import type { Operation } from "./outbox.js";

export const VALUE_MAX = Number.MAX_SAFE_INTEGER;

/** What to show of a counter. A new object with every change. */
export interface View {
  /** The value with our own operations on their way; undefined until it is known. */
  readonly value: number | undefined;
  /** The value as the service last told it. */
  readonly confirmed: number | undefined;
  /** How many of our operations have no answer yet. */
  readonly pending: number;
  readonly metadata: Metadata | undefined;
  /** The newest event or snapshot. */
  readonly update: Update | undefined;
}

export const NOTHING_KNOWN: View = Object.freeze({
  value: undefined, confirmed: undefined, pending: 0, metadata: undefined, update: undefined,
});

interface State {
  value: number;
  metadata: Metadata;
}

/** Rule: the place follows events and snapshots alone. Answers to our own operations may overtake their events; they
 * change what is shown, never the place, so no event is skipped for an answer's sake. */
export class Counter {
  update: Update | undefined;
  private place: { life: number; count: number } | undefined;
  private stream: State | undefined; // As far as events have come.
  private shown: State | undefined; // The newest that is known without counting an operation of ours twice.
  private healing = false;

  /** `every`: all events are wanted, so one that is missing is a gap. */
  constructor(private readonly every = true) {}

  /** Where to resume; undefined when only a snapshot will do. */
  get since(): { life: number; count: number } | undefined {
    return this.place && this.place.life > 0 ? this.place : undefined;
  }

  /** An event or a snapshot has come. `known`: it is behind us. `gap`: something before it is missing; subscribe anew.
   * `pending`: whether operations of ours have no answer. The event may be theirs, and they are on show already. */
  hear(update: Update, pending: boolean): "new" | "known" | "gap" {
    const { id: life, operationCount: count } = update.metadata;
    if (update.type !== "snapshot" && this.place) {
      const { life: ours, count: before } = this.place;
      if (life < ours || (life === ours && count <= before)) return "known";
      const first = count - ((update as { operations?: number }).operations ?? 1);
      if (this.every && first > (life === ours ? before : 0) && !this.healing) {
        this.healing = true; // Once: if the service cannot close the gap, we go on from where it is.
        return "gap";
      }
    }
    this.healing = false;
    this.place = { life, count };
    this.update = update;
    // An answer that has overtaken the events is newer than this snapshot; anything else is not: a snapshot is the truth.
    const overtaken = this.shown !== this.stream && !newer(this.shown, update);
    this.stream = update;
    if (pending && this.shown) return "new";
    if (update.type === "snapshot" && !overtaken) this.shown = update;
    else this.catchUp();
    return "new";
  }

  /** An operation of ours is answered; null: it was refused or given up. */
  answered(result: State | null, pending: boolean): void {
    if (result && newer(this.shown, result)) this.shown = result;
    if (!pending) this.catchUp();
  }

  /** Subscribed anew. */
  resumed(): void {
    this.healing = false;
  }

  view(operations: readonly Operation[]): View {
    const confirmed = this.shown?.value;
    return {
      value: confirmed === undefined ? undefined : operations.reduce(foresee, confirmed),
      confirmed,
      pending: operations.length,
      metadata: this.shown?.metadata,
      update: this.update,
    };
  }

  private catchUp(): void {
    if (this.stream && newer(this.shown, this.stream)) this.shown = this.stream;
  }
}

/** Whether `b` is later than `a`. */
function newer(a: State | undefined, b: State): boolean {
  if (!a) return true;
  const { id: life, operationCount: count } = b.metadata;
  return life === a.metadata.id ? count >= a.metadata.operationCount : life > a.metadata.id;
}

/** What an operation will most likely make of a value. The bounds of the counter are not known here, but for the usual
 * one: what is not negative does not become so. */
function foresee(value: number, { type, number }: Operation): number {
  if (type === "decrement") return Math.max(value < 0 ? -VALUE_MAX : 0, value - number);
  return type === "setValue" ? number : type === "reset" ? 0 : Math.min(VALUE_MAX, value + number);
}

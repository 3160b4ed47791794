// Whether somebody likes something, and how many do: live, and at once for clicks of one's own.

import type { CounterClient } from "./client.js";
import type { CounterEvent, Liked, Metadata, Update } from "./wire.js";

/** What to show of a like. A new object with every change. */
export interface LikeView {
  /** How many like it, with a click of ours on its way; undefined until it is known. */
  readonly count: number | undefined;
  /** Whether the member does, likewise. */
  readonly isLiked: boolean | undefined;
  /** How many of our clicks have no answer yet. */
  readonly pending: number;
}

export const NOTHING_LIKED: LikeView = Object.freeze({ count: undefined, isLiked: undefined, pending: 0 });

const GATHER_MS = 5; // Questions of so long are one.
const NAMES_MAX = 1000; // In it.
const AGAIN_MS = 3_000;

/** One member and what there is to like. Nothing happens until somebody watches. */
export class Like {
  private shown = NOTHING_LIKED;
  private isLiked: boolean | undefined; // As the service last told it,
  private place = { id: 0, operationCount: 0 }; // by the operation of this place.
  private wish: boolean | undefined; // What our newest click wants, while it has no answer.
  private pending = 0;
  private question = 0; // Answers to earlier ones are not news any more.
  private again: ReturnType<typeof setTimeout> | undefined;
  private readonly watchers = new Set<() => void>();
  private leave = () => {};

  constructor(readonly client: CounterClient, readonly name: string, readonly member: string) {}

  /** Be told whenever `view` has changed, until the returned function is called. */
  watch(watcher: () => void): () => void {
    const own = () => watcher();
    this.watchers.add(own);
    if (this.watchers.size === 1) {
      this.leave = this.client.watch(this.name, (_, update) => this.hear(update));
      // Else a snapshot is on its way, and with it the question.
      if (this.client.view(this.name).confirmed !== undefined) void this.ask();
    }
    return () => {
      if (!this.watchers.delete(own) || this.watchers.size) return;
      this.leave();
      this.question += 1;
      clearTimeout(this.again);
    };
  }

  /** The same object until it changes. */
  get view(): LikeView {
    const { pending, shown } = this;
    const { value: count } = this.client.view(this.name);
    const isLiked = this.wish ?? this.isLiked;
    if (count !== shown.count || isLiked !== shown.isLiked || pending !== shown.pending) {
      this.shown = { count, isLiked, pending };
    }
    return this.shown;
  }

  /** Like it, or take it back, whichever is not what is shown. */
  async toggle(): Promise<Liked> {
    const { client, name, member, view: { isLiked } } = this;
    this.wish = isLiked === undefined ? undefined : !isLiked;
    this.pending += 1;
    try {
      const answer = await (
        isLiked === undefined ? client.toggleLike(name, member)
        : isLiked ? client.unlike(name, member, -1)
        : client.like(name, member, 1)
      );
      this.know(answer.isLiked, answer.metadata);
      return answer;
    } finally {
      this.pending -= 1;
      if (!this.pending) this.wish = undefined;
      this.tell();
    }
  }

  private hear(update?: Update): void {
    if (update) {
      const { type, member, operations = 1, metadata } = update as CounterEvent;
      if (type === "reset") this.know(false, metadata);
      else if ((type as string) === "snapshot" || operations > 1) void this.ask();
      else if (member === this.member) this.know(type === "increment", metadata);
    }
    this.tell();
  }

  /** An event or an answer says so. They come in either order; the later operation counts. */
  private know(isLiked: boolean, { id, operationCount }: Pick<Metadata, "id" | "operationCount">): void {
    if (id < this.place.id || (id === this.place.id && operationCount < this.place.operationCount)) return;
    this.place = { id, operationCount };
    this.isLiked = isLiked;
    this.question += 1;
  }

  /** Ask the service, because events do not tell. What is heard meanwhile is newer than the answer. */
  private async ask(): Promise<void> {
    const question = (this.question += 1);
    // Null: refused, as it would be again.
    const isLiked = await status(this.client, this.name, this.member).catch(({ retryable }) => (retryable ? undefined : null));
    if (question !== this.question || isLiked === null) return;
    if (isLiked === undefined) {
      clearTimeout(this.again);
      this.again = setTimeout(() => void this.ask(), AGAIN_MS);
    } else {
      this.isLiked = isLiked;
      this.tell();
    }
  }

  private tell(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}

interface Question {
  names: Set<string>;
  answer: Promise<Record<string, boolean>>;
}

const gathering = new WeakMap<CounterClient, Map<string, Question>>();

/** What somebody likes; a page that asks about a hundred things asks once. */
async function status(client: CounterClient, name: string, member: string): Promise<boolean | undefined> {
  const questions = gathering.get(client) ?? new Map<string, Question>();
  gathering.set(client, questions);
  let question = questions.get(member);
  if (!question || question.names.size === NAMES_MAX) {
    const names = new Set<string>();
    const answer = new Promise((resolve) => setTimeout(resolve, GATHER_MS)).then(async () => {
      if (questions.get(member)?.names === names) questions.delete(member);
      return (await client.call("like.getStatuses", { names: [...names], member })).statuses;
    });
    questions.set(member, (question = { names, answer }));
  }
  question.names.add(name);
  return (await question.answer)[name];
}

// The list: every counter live, on the page's one connection.

import { isName, type View } from "../src/index.js";
import { age, number, size } from "./format.js";
import { attempt, notePending, setText } from "./frame.js";
import { byId, counters, now, whileVisible } from "./service.js";

const SHOWN_MAX = 1_000; // One connection listens to no more.
const PAGE = 100;
const REFRESH_MS = 5_000; // Nobody tells us of counters that others make.
const TYPED_MS = 150;
const PREFIX = /^[\w.:-]{0,100}$/; // What a name can begin with.

interface Listed {
  name: string;
  value: number;
  updatedAt: string;
  likes: boolean;
}

interface Page {
  counters: Listed[];
  cursor?: string;
}

class Row {
  private readonly value;
  private changedAt: number;
  private readonly stop;

  constructor(readonly name: string, readonly element: HTMLElement) {
    this.value = element.querySelector<HTMLElement>(".value")!;
    this.changedAt = Date.parse(element.dataset.changed ?? "");
    element.querySelector(".minus")!.addEventListener("click", () => this.change(-1));
    element.querySelector(".plus")!.addEventListener("click", () => this.change(1));
    element.addEventListener("keydown", (event) => this.key(event));
    this.stop = counters.watch(name, (view) => this.show(view));
    this.tell();
  }

  tell(): void {
    const text = Number.isNaN(this.changedAt) ? "" : age(this.changedAt, now());
    setText(this.element.querySelector("time")!, text);
  }

  remove(): void {
    this.stop();
    notePending(this.name, 0);
    this.element.remove();
  }

  private show({ value, pending, metadata }: View): void {
    notePending(this.name, pending);
    if (value === undefined) return;
    const text = number(value);
    if (text !== this.value.textContent) {
      const direction = value >= Number(this.value.dataset.value ?? value) ? "up" : "down";
      this.value.textContent = text;
      this.element.dataset.size = size(text);
      if (this.value.dataset.value !== undefined) {
        this.value.classList.remove("up", "down");
        void this.value.offsetWidth; // Begin the animation anew.
        this.value.classList.add(direction);
      }
    }
    this.value.dataset.value = `${value}`;
    this.element.toggleAttribute("data-pending", pending > 0);
    if (metadata?.updatedAt) this.changedAt = Date.parse(metadata.updatedAt);
    this.tell();
  }

  private change(by: 1 | -1): void {
    if (this.element.hasAttribute("data-likes")) return; // Likes have members, and those are made elsewhere.
    void attempt(byId("problem"), () => (by > 0 ? counters.increment(this.name) : counters.decrement(this.name)));
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+") this.change(1);
    else if (event.key === "-") this.change(-1);
  }
}

export function startList(): void {
  const list = byId("counters");
  const search = byId<HTMLInputElement>("q");
  const create = byId("create");
  const pattern = byId<HTMLTemplateElement>("row").content.firstElementChild!;
  const rows = new Map<string, Row>();
  let pages = 1;
  let asked = 0;
  let typing: ReturnType<typeof setTimeout>;

  for (const element of list.querySelectorAll<HTMLElement>(".row")) {
    rows.set(element.dataset.name!, new Row(element.dataset.name!, element));
  }

  function newRow({ name, value, updatedAt }: Listed): Row {
    const element = pattern.cloneNode(true) as HTMLElement;
    element.dataset.name = name;
    element.dataset.changed = updatedAt;
    const link = element.querySelector("a")!;
    link.textContent = name;
    link.href = `/c/${name}`;
    element.querySelector(".value")!.textContent = number(value);
    element.dataset.size = size(number(value));
    element.querySelector(".minus")!.setAttribute("aria-label", `Take 1 from ${name}`);
    element.querySelector(".plus")!.setAttribute("aria-label", `Add 1 to ${name}`);
    return new Row(name, element);
  }

  /** Bring the rows in line. Those that stay are not touched, and one that has the focus stays in any case. */
  function arrange(listed: Listed[], more: boolean): void {
    const names = new Set(listed.map(({ name }) => name));
    for (const [name, row] of rows) {
      if (names.has(name) || row.element.contains(document.activeElement)) continue;
      rows.delete(name);
      row.remove();
    }
    listed.forEach((each, index) => {
      if (!rows.has(each.name)) rows.set(each.name, newRow(each));
      const { element } = rows.get(each.name)!;
      element.toggleAttribute("data-likes", each.likes);
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    });
    byId("more").hidden = !more;
    offer();
  }

  /** What was typed can be created when it is a name that is not there yet. */
  function offer(): void {
    const name = search.value.trim();
    const fits = isName(name);
    setText(byId("problem"), name && !fits ? "A name has letters, digits and _ - . : and nothing else." : "");
    search.setAttribute("aria-invalid", `${Boolean(name) && !fits}`);
    create.hidden = !fits || rows.has(name);
    create.textContent = `Create ${name.length > 24 ? `${name.slice(0, 24)}…` : name}`;
    const empty = byId("empty");
    empty.hidden = rows.size > 0;
    setText(empty, name ? "No counter begins with that." : "Nothing here yet. Type a name above to create a counter.");
  }

  async function refresh(): Promise<void> {
    const turn = ++asked;
    const prefix = search.value.trim();
    if (!PREFIX.test(prefix)) return arrange([], false);
    const listed: Listed[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < pages; page += 1) {
      const input = { prefix, limit: PAGE, ...(cursor && { cursor }) };
      const answer = await counters.call<Page>("listAll", input, { attempts: 1 }).catch(() => null);
      if (turn !== asked || !answer) return; // Overtaken; or the banner says what is wrong.
      listed.push(...answer.counters);
      cursor = answer.cursor;
      if (!cursor) break;
    }
    arrange(listed.slice(0, SHOWN_MAX), Boolean(cursor) && listed.length < SHOWN_MAX);
  }

  async function open(event: Event): Promise<void> {
    event.preventDefault();
    const name = search.value.trim();
    if (!isName(name)) return search.focus();
    if (rows.has(name)) return location.assign(`/c/${name}`);
    await attempt(byId("problem"), async () => {
      await counters.call("create", { name });
      location.assign(`/c/${name}`);
    });
  }

  search.addEventListener("input", () => {
    offer();
    clearTimeout(typing);
    typing = setTimeout(() => {
      pages = 1;
      const { value } = search;
      history.replaceState(null, "", value ? `/?q=${encodeURIComponent(value)}` : "/");
      void refresh();
    }, TYPED_MS);
  });
  byId("search").addEventListener("submit", open);
  create.addEventListener("click", open);
  byId("more").addEventListener("click", (event) => {
    event.preventDefault();
    pages += 1;
    void refresh();
  });
  whileVisible(REFRESH_MS, refresh);
  whileVisible(REFRESH_MS, () => rows.forEach((row) => row.tell()));
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target instanceof HTMLInputElement) return;
    event.preventDefault();
    search.focus();
  });
  void refresh();
}

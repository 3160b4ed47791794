// The sum of all counters, live.

import type { CounterEvent, Update, View } from "../src/index.js";
import { Figure } from "./figure.js";
import { number } from "./format.js";
import { setText } from "./frame.js";
import { byId, counters, element, given, whileVisible } from "./service.js";

const TOP = 10;
const RATE_S = 10; // Operations a second are a mean over so long.

export function startTotals(): void {
  const values = new Map<string, number>(Object.entries(given.values as Record<string, number>));
  const operations = new Map<string, number>();
  const figure = new Figure();
  const recent: number[] = new Array(RATE_S).fill(0); // Operations in each of the last seconds.
  let drawing = false;

  function sum(): bigint {
    let total = 0n; // A thousand values at the edge of what is exact are beyond it together.
    for (const value of values.values()) total += BigInt(value);
    return total;
  }

  function draw(): void {
    drawing = false;
    figure.show(sum());
    setText(byId("operations"), number([...operations.values()].reduce((total, count) => total + count, 0)));
    drawTop();
  }

  function drawTop(): void {
    const highest = [...values].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, TOP);
    const scale = Math.max(1, ...highest.map(([, value]) => value));
    const list = byId("top");
    highest.forEach(([name, value], index) => {
      let line = list.children[index] as HTMLElement | undefined;
      if (!line) {
        line = element("li");
        line.append(element("a", "name"), element("span", "value"), element("span", "bar"));
        list.append(line);
      }
      const [link, shown, bar] = [...line.children] as [HTMLAnchorElement, HTMLElement, HTMLElement];
      setText(link, name);
      link.href = `/c/${name}`;
      setText(shown, number(value));
      bar.style.setProperty("--part", `${Math.max(0, value / scale)}`);
    });
    while (list.children.length > highest.length) list.lastElementChild!.remove();
  }

  function show(name: string, view: View, update?: Update): void {
    if (view.value !== undefined) values.set(name, view.value);
    if (view.metadata) operations.set(name, view.metadata.operationCount);
    if (update && update.type !== "snapshot") recent[0]! += (update as CounterEvent).operations ?? 1;
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(draw);
  }

  for (const name of values.keys()) counters.watch(name, (view, update) => show(name, view, update));
  byId("limited").hidden = !given.more;
  draw();
  setInterval(() => {
    const rate = recent.reduce((total, count) => total + count, 0) / RATE_S;
    setText(byId("rate"), rate && rate < 10 ? rate.toFixed(1) : number(Math.round(rate)));
    recent.unshift(0);
    recent.pop();
  }, 1_000);
  whileVisible(1_000, () => drawing || draw());
}

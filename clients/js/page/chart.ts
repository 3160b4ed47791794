// The value over time as a line of steps, and operations a second below it.

import { ago, compact, number } from "./format.js";
import { now } from "./service.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220;
const BARS = 44; // Height of the lower part.
const GAP = 18;
const BOTTOM = 22;
const LEFT = 8;
const RIGHT = 56; // For the labels of the values.
const POINTS_MAX = 4_000;
const BUCKETS = 60;

interface Point {
  at: number;
  value: number;
  operations: number;
}

export class Chart {
  span = 60_000;
  private points: Point[] = []; // Oldest first.
  private readonly svg = document.createElementNS(SVG, "svg");
  private width = 0;
  private waiting = false;

  constructor(private readonly place: HTMLElement) {
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("height", `${HEIGHT}`);
    place.append(this.svg);
    new ResizeObserver(() => this.draw()).observe(place);
  }

  /** What is known from before. */
  begin(points: Point[]): void {
    this.points = points;
    this.draw();
  }

  add(point: Point): void {
    this.points.push(point);
    // Every other one of the older half: the shape stays, the memory is bounded.
    if (this.points.length > POINTS_MAX) {
      this.points = this.points.filter((_, index) => index % 2 === 1 || index > POINTS_MAX / 2);
    }
    this.draw();
  }

  /** With the next frame; a tab that nobody looks at draws nothing. */
  draw(): void {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.width = this.place.clientWidth;
      if (this.width > 0) this.render();
    });
  }

  private render(): void {
    const to = now();
    const from = to - this.span;
    const right = this.width - RIGHT;
    const inside = this.points.filter(({ at }) => at >= from);
    const before = this.points[this.points.length - inside.length - 1];
    const values = [...(before ? [before] : []), ...inside].map(({ value }) => value);
    const [low, high] = bounds(values);
    const bottom = HEIGHT - BOTTOM - BARS - GAP;
    const x = (at: number) => LEFT + ((Math.min(at, to) - from) / this.span) * (right - LEFT);
    const y = (value: number) => 10 + (1 - (value - low) / (high - low)) * (bottom - 10);

    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.svg.setAttribute("width", `${this.width}`);
    for (const value of [low, (low + high) / 2, high]) {
      this.put("line", { x1: LEFT, x2: right, y1: y(value), y2: y(value), class: "grid" });
      if (Number.isInteger(value)) this.put("text", { x: right + 8, y: y(value) + 4, class: "label" }, compact(value));
    }
    const ticks = this.width < 480 ? 2 : 4;
    for (let index = 0; index <= ticks; index += 1) {
      const at = from + (this.span / ticks) * index;
      const anchor = index === 0 ? "start" : index === ticks ? "end" : "middle";
      this.put("text", { x: x(at), y: HEIGHT - 4, class: "label", "text-anchor": anchor }, ago(to - at));
    }
    const first = before ? from : inside[0]?.at;
    if (first !== undefined) {
      let path = `M${x(first).toFixed(1)} ${y(values[0]!).toFixed(1)}`;
      for (const { at, value } of inside) path += `H${x(at).toFixed(1)}V${y(value).toFixed(1)}`;
      path += `H${right.toFixed(1)}`;
      this.put("path", { d: `${path}V${bottom}H${x(first).toFixed(1)}Z`, class: "area" });
      this.put("path", { d: path, class: "line" });
      this.put("circle", { cx: right, cy: y(values.at(-1)!), r: 4, class: "dot" });
    }
    const operations = this.bars(inside, from, right);
    const last = values.at(-1);
    const said = last === undefined ? "Nothing has happened yet"
      : `The value went from ${number(values[0]!)} to ${number(last)}, with ${number(operations)} operations`;
    this.svg.setAttribute("aria-label", said);
  }

  private bars(inside: Point[], from: number, right: number): number {
    const counts = new Array<number>(BUCKETS).fill(0);
    for (const { at, operations } of inside) {
      const bucket = Math.min(BUCKETS - 1, Math.max(0, Math.floor(((at - from) / this.span) * BUCKETS)));
      counts[bucket]! += operations;
    }
    const highest = Math.max(1, ...counts);
    const floor = HEIGHT - BOTTOM;
    const step = (right - LEFT) / BUCKETS;
    counts.forEach((count, index) => {
      if (!count) return;
      const height = Math.max(2, (count / highest) * BARS);
      this.put("rect", { x: LEFT + index * step + 1, y: floor - height, width: Math.max(1, step - 2), height, rx: 1, class: "bar" });
    });
    const rate = highest / (this.span / BUCKETS / 1000);
    const total = counts.reduce((sum, count) => sum + count, 0);
    this.put("line", { x1: LEFT, x2: right, y1: floor, y2: floor, class: "grid" });
    if (total) this.put("text", { x: right + 8, y: floor - BARS + 10, class: "label" }, `${rate < 10 ? Number(rate.toFixed(rate < 1 ? 2 : 1)) : compact(Math.round(rate))}/s`);
    return total;
  }

  private put(tag: string, attributes: Record<string, string | number>, text = ""): void {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, `${value}`);
    if (text) made.textContent = text;
    this.svg.append(made);
  }
}

/** A lowest and highest value with room between them. */
function bounds(values: number[]): [number, number] {
  let [low, high] = [Math.min(...values, Infinity), Math.max(...values, -Infinity)];
  if (low === Infinity) [low, high] = [0, 1];
  // A line that hardly moves should look like it.
  const least = Math.max(4, Math.abs(high) * 0.02);
  if (high - low < least) {
    const middle = (low + high) / 2;
    low = low >= 0 ? Math.max(0, Math.floor(middle - least / 2)) : Math.floor(middle - least / 2);
    high = low + Math.ceil(least);
  }
  if ((high - low) % 2) high += 1;
  return [low, high];
}

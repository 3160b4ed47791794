// Numbers and times as people read them.

const grouped = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const ages = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const MINUS = (text: string): string => text.replace("-", "−");

/** 1,234 and −5. The service writes its HTML alike. */
export const number = (value: number | bigint): string => MINUS(grouped.format(value));
export const compact = (value: number): string => MINUS(Math.abs(value) < 10_000 ? grouped.format(value) : short.format(value));
export const signed = (value: number): string => (value > 0 ? `+${number(value)}` : number(value));

// Up to so many characters a value is set in this size; as in gateway/pages.py.
const SIZES: [number, string][] = [[5, "small"], [10, "medium"], [15, "large"]];

export const size = (shown: string): string => SIZES.find(([limit]) => shown.length <= limit)?.[1] ?? "huge";

/** How long ago `at` was. */
export function age(at: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 5) return "now";
  if (seconds < 60) return ages.format(-seconds, "second");
  if (seconds < 3600) return ages.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86_400) return ages.format(-Math.floor(seconds / 3600), "hour");
  return ages.format(-Math.floor(seconds / 86_400), "day");
}

/** 1:02:03, for a countdown. */
export function remaining(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (part: number) => `${part}`.padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const timeOfDay = (at: number): string => clock.format(at);
export const whole = (at: number): string => exact.format(at);

/** The label of a place on a time axis, so many milliseconds ago. */
export function ago(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds === 0) return "now";
  const units: [number, string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([size]) => seconds >= size)!;
  return `−${Number((seconds / size).toFixed(1))} ${unit}`;
}

/** An integer that somebody typed: grouped or not, with any kind of minus. NaN if it is none. */
export function typed(text: string): number {
  const plain = text.trim().replace(/[,\s_']/g, "").replace(/^[−–]/, "-");
  return /^[+-]?\d{1,16}$/.test(plain) && Number.isSafeInteger(Number(plain)) ? Number(plain) : NaN;
}

// The page at "/": the counters of this service, live.
//
// In reading order: talking to the service (call, Connection), one counter on the page (Row), the page.
// A value is only ever shown as the service told it. Names and messages become text, never markup.

const SHOWN_MAX = 50; // Each is a WebSocket; browsers allow about 200 for one host.
const REFRESH_MS = 10_000;
const ATTEMPTS_MAX = 4;
const ANSWER_MS_MAX = 10_000;
const RETRY_AFTER_S_MAX = 10;
const BACKOFF_MS = 400;
const BACKOFF_MS_MAX = 15_000;
const WINDOW_MS_MAX = 60_000;
const PING_MS = 25_000;

// A browser resolves the path segments "." and ".." away, so these two names have no address in it.
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,100}$/;
const NAME_RULE = "A name has 1 to 100 letters, digits and _ - . : (but is not just . or ..).";

// --- talking to the service ---

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The pause after failed attempt number `attempt` (from 1). Full jitter: clients which lost the service in
 * the same instant do not come back in the same instant. */
function backoffMs(attempt) {
  return Math.random() * Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(attempt - 1, 16));
}

/** A random idempotency key. `crypto.randomUUID` is missing on pages that a phone gets by plain HTTP. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One attempt: `{output}`, or `{problem, again, waitMs}`. After a problem that allows it `again`, nobody
 * knows whether the service did what was asked. */
async function callOnce(procedure, input, key) {
  let answer, body;
  try {
    answer = await fetch(`/rpc/counter.${procedure}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(input),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    body = await answer.json();
  } catch {
    // Something that is not JSON comes from a proxy whose gateway is away: also no answer.
    return { problem: "No answer from the service", again: true, waitMs: 0 };
  }
  if (answer.ok) return { output: body };
  const { code = `HTTP_${answer.status}`, message = answer.statusText, retryable } = body?.error ?? {};
  const waitS = Number(answer.headers.get("Retry-After")) || 0;
  const again = retryable === true && waitS <= RETRY_AFTER_S_MAX;
  return { problem: `${code}: ${message}`, again, waitMs: waitS * 1000 };
}

/** Call a procedure, a few times if need be: the key stays the same, so it is never done twice.
 * Rejects with an Error whose message is meant for the reader; `isUnknown` if it may have been done. */
async function call(procedure, input) {
  const key = newKey();
  for (let attempt = 1; ; attempt += 1) {
    const { output, problem, again, waitMs } = await callOnce(procedure, input, key);
    if (problem === undefined) return output;
    if (!again || attempt >= ATTEMPTS_MAX) throw Object.assign(new Error(problem), { isUnknown: again });
    await sleep(waitMs + backoffMs(attempt));
  }
}

/** The reconnect window that a draining gateway (1012) names in its close reason, as milliseconds. */
function windowMs({ code, reason }) {
  if (code !== 1012) return 0;
  try {
    const [, seconds] = JSON.parse(reason).reconnect;
    return Math.min(Number(seconds) * 1000 || 0, WINDOW_MS_MAX);
  } catch {
    return 0;
  }
}

/** A WebSocket for one counter that comes back by itself. `state` is "connecting", "open", "waiting" or
 * "closed"; `onState` hears of each change and `onMessage` of each message. */
class Connection {
  constructor(name, onMessage, onState) {
    const origin = location.origin.replace(/^http/, "ws");
    this.url = `${origin}/ws/counter/${encodeURIComponent(name)}?snapshot=1`;
    this.onMessage = onMessage;
    this.onState = onState;
    this.attempt = 0;
    this.connect();
  }

  connect() {
    this.attempt += 1;
    this.become("connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    // A socket that has been given up may still speak; only the present one is listened to.
    socket.onmessage = ({ data }) => this.socket === socket && this.hear(data);
    socket.onclose = (event) => this.socket === socket && this.wait(windowMs(event));
  }

  hear(data) {
    this.silent = false;
    if (this.state !== "open") {
      // Only the first message is a success: a service that accepts and closes must not be hurried.
      this.attempt = 0;
      this.pings = setInterval(() => this.ping(), PING_MS);
      this.become("open");
    }
    this.onMessage(JSON.parse(data));
  }

  /** Browsers do not notice a server that vanished without a word, so an unanswered ping ends the wait. */
  ping() {
    if (this.silent) return this.wait(0);
    this.silent = true;
    this.socket.send('{"type":"ping"}');
  }

  wait(spreadMs) {
    this.drop();
    this.become("waiting");
    const pauseMs = Math.max(backoffMs(this.attempt + 1), Math.random() * spreadMs);
    this.timer = setTimeout(() => this.connect(), pauseMs);
  }

  /** Do not wait any longer: the network is back, or somebody looks at the page again. */
  hurry() {
    if (this.state !== "waiting") return;
    clearTimeout(this.timer);
    this.connect();
  }

  close() {
    this.drop();
    this.become("closed");
  }

  drop() {
    clearTimeout(this.timer);
    clearInterval(this.pings);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  become(state) {
    this.state = state;
    this.onState();
  }
}

// --- one counter on the page ---

const template = document.getElementById("row");
const numbers = new Intl.NumberFormat();

class Row {
  constructor(name, onState) {
    this.name = name;
    this.position = {};
    this.element = template.content.firstElementChild.cloneNode(true);
    this.part("name").textContent = name;
    this.button("plus", `Add 1 to ${name}`, () => this.change("increment", { amount: 1 }));
    this.button("minus", `Subtract 1 from ${name}`, () => this.change("decrement", { amount: 1 }));
    this.button("reset", `Reset ${name}`, () => this.reset());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.connection = new Connection(
      name,
      (message) => this.hear(message),
      () => {
        this.element.dataset.state = this.connection?.state ?? "connecting";
        onState();
      },
    );
  }

  part(className) {
    return this.element.querySelector(`.${className}`);
  }

  button(className, label, onPress) {
    this.part(className).setAttribute("aria-label", label);
    this.part(className).addEventListener("click", onPress);
  }

  /** In a row, the keys + and - do what its buttons do. With Ctrl or ⌘ they zoom the page. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const className = { "+": "plus", "-": "minus" }[event.key];
    if (className) this.part(className).click();
  }

  hear(message) {
    const { type, value, metadata } = message;
    if (type === "error") this.say(`${message.code}: ${message.message}`, true);
    else if (Number.isSafeInteger(value)) this.show(value, metadata, type === "snapshot");
  }

  /** Show a value unless a newer one of the same counter is on show: answers and events race each other.
   * A snapshot is the truth in any case; after a delete the same name is another counter with a new count. */
  show(value, metadata, isSnapshot) {
    const { id, operationCount = 0 } = metadata ?? {};
    const isOlder = id === this.position.id && operationCount < this.position.operationCount;
    if (isOlder && !isSnapshot) return;
    this.position = { id, operationCount };
    this.part("value").textContent = numbers.format(value);
  }

  async change(procedure, input) {
    try {
      const { value, metadata } = await call(procedure, { name: this.name, ...input });
      this.show(value, metadata, false);
      this.say(`${this.name} is ${numbers.format(value)}`, false);
    } catch (error) {
      this.say(error.isUnknown ? `${error.message} (it may have been applied)` : error.message, true);
    }
  }

  reset() {
    if (confirm(`Reset ${this.name}?`)) this.change("reset", {});
  }

  say(text, isBad) {
    const said = this.part("said");
    said.textContent = text;
    said.toggleAttribute("data-bad", isBad);
  }

  remove() {
    this.connection.close();
    this.element.remove();
  }
}

// --- the page ---

const byId = (id) => document.getElementById(id);
const rows = new Map();
let opened = namesInAddress(); // By hand, newest first; kept in the address, so that it can be shared.
let listed = [];
let listing = "connecting"; // How the last listing went: "connecting", "open" or "waiting".

function namesInAddress() {
  const names = location.hash.slice(1).split(",");
  return [...new Set(names.filter((name) => NAME.test(name)))].slice(0, SHOWN_MAX);
}

/** Bring the rows in line with the names to show. Rows that stay are not touched: they may have the focus. */
function arrange() {
  const names = [...new Set([...opened, ...listed])].slice(0, SHOWN_MAX);
  for (const [name, row] of rows) {
    if (names.includes(name) || row.element.contains(document.activeElement)) continue;
    rows.delete(name);
    row.remove();
  }
  names.forEach((name, index) => {
    if (!rows.has(name)) rows.set(name, new Row(name, showState));
    const { element } = rows.get(name);
    const place = byId("counters").children[index] ?? null;
    if (place !== element) byId("counters").insertBefore(element, place);
  });
  byId("empty").hidden = rows.size > 0 || listing !== "open";
  showState();
}

function showState() {
  const states = [...rows.values()].map((row) => row.connection?.state ?? "connecting");
  const open = states.filter((state) => state === "open").length;
  let state = "connecting";
  let text = `Connecting (${open} of ${states.length})`;
  if (open === states.length) {
    state = listing;
    text = { open: "Live", connecting: "Connecting", waiting: "No answer, trying again" }[listing];
  } else if (open === 0) {
    state = states.includes("waiting") ? "waiting" : "connecting";
    text = state === "waiting" ? "No connection, trying again" : "Connecting";
  }
  // A status that is set anew is read aloud anew, even if it says the same.
  if (byId("state").textContent !== text) byId("state").textContent = text;
  byId("state").dataset.state = state;
}

async function refresh() {
  try {
    const { counters, cursor } = await call("listAll", { limit: SHOWN_MAX });
    // By name, so that no row moves under a finger because its counter has changed.
    listed = counters.map(({ name }) => name).filter((name) => NAME.test(name)).sort();
    listing = "open";
    byId("more").hidden = !cursor;
    byId("more").textContent = `The first ${SHOWN_MAX} are shown. Open any other one by its name.`;
  } catch (error) {
    listing = "waiting";
    byId("more").hidden = false;
    byId("more").textContent = `The list could not be loaded. ${error.message}`;
  }
  arrange();
}

/** Refresh for as long as somebody looks. */
async function keepFresh() {
  for (;;) {
    if (!document.hidden) await refresh();
    await sleep(REFRESH_MS);
  }
}

function open(event) {
  event.preventDefault();
  const field = byId("name");
  const name = field.value.trim();
  const fits = NAME.test(name);
  byId("problem").textContent = fits ? "" : NAME_RULE;
  field.setAttribute("aria-invalid", String(!fits));
  if (!fits) return;
  opened = [name, ...opened.filter((other) => other !== name)].slice(0, SHOWN_MAX);
  history.replaceState(null, "", `#${opened.join(",")}`);
  field.value = "";
  arrange();
  rows.get(name).part("plus").focus();
}

function hurry() {
  if (document.hidden) return;
  for (const row of rows.values()) row.connection.hurry();
}

byId("open").addEventListener("submit", open);
addEventListener("hashchange", () => {
  opened = namesInAddress();
  arrange();
});
addEventListener("online", hurry);
document.addEventListener("visibilitychange", hurry);
arrange();
keepFresh();

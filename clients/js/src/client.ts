// One connection for many counters. The deciding is in core/; here are the socket and the timers.

import { checked, wsUrl } from "./address.js";
import { call, newKey, type CallOptions } from "./call.js";
import { Counter, NOTHING_KNOWN, VALUE_MAX, type View } from "./core/counter.js";
import { Outbox, type Operation } from "./core/outbox.js";
import { Reconnect, type ReconnectOptions } from "./core/reconnect.js";
import { diagnose, problem, type Problem } from "./diagnose.js";
import { categorize, CounterError } from "./errors.js";
import { measured, newMetrics, type Metrics } from "./metrics.js";
import { closeWebSocket } from "./socket.js";
import { read, type Enriched, type Liked, type LikeType, type Message, type OperationType, type Result, type Update } from "./wire.js";

/** `idle`: nothing to do, no connection. `connecting`. `open`. `waiting`: for the next attempt.
 * `closed`: by `close()`, by a service that refuses us, or because no connection can be made at all; `retry()` begins
 * again. */
export type ConnectionState = "idle" | "connecting" | "open" | "waiting" | "closed";

export interface ClientOptions {
  /** Where the service is, as `https:` or `wss:`, or `host:port` for `http:`; else the page's own origin. */
  url?: string | undefined;
  /** Together with a number it names each operation. Random unless given; never the same in two tabs. */
  key?: string;
  /** What others are told of this session. */
  attachment?: unknown;
  /** Only these types of events, and at most so many a second and counter. */
  events?: readonly OperationType[];
  rate?: number;
  reconnect?: ReconnectOptions;
  /** Milliseconds between pings, and to wait for a pong or for the handshake before a connection counts as dead. */
  pingInterval?: number;
  pongTimeout?: number;
  connectTimeout?: number;
  /** Operations that may wait for an answer, and milliseconds after which one is given up. */
  outbox?: number;
  giveUpAfter?: number;
  /** Milliseconds that a connection nobody needs any more is kept. */
  linger?: number;
  WebSocket?: typeof WebSocket;
  fetch?: typeof fetch;
  random?: () => number;
}

/** Called when what there is to show of a counter has changed. `update`: the event or snapshot that came, if one did;
 * each event exactly once and in order. */
export type Watcher = (view: View, update?: Update) => void;

const SUBSCRIBE_MAX = 100; // Names in one message: it must stay below 64 KB.
const COUNTERS_MAX = 1000; // On one connection.
const QUIET_MS = 2_000; // An operation sent after so much silence asks for a pong, too.
const AGAIN_MS = 1_000; // What the service means by "retryable" on a connection that works.
const SUSPICIOUS = 3; // Failed attempts in a row after which we ask why.

interface Watched {
  counter: Counter;
  watchers: Set<Watcher>;
  view: View | undefined; // Made when it is asked for.
}

export class CounterClient {
  readonly metrics: Metrics = newMetrics();
  /** What keeps us from connecting, if that is known. */
  problem: Problem | undefined;
  state: ConnectionState = "idle";

  private readonly key: string;
  private readonly reconnect: Reconnect;
  private readonly outbox: Outbox;
  private readonly counters = new Map<string, Watched>();
  private readonly listeners = new Set<() => void>();
  private readonly settings;
  private readonly fresh = new Set<string>(); // To be subscribed to at the end of this turn.
  private socket: WebSocket | undefined;
  private turn = false;
  private connections = 0;
  private workedSince: number | undefined; // Since the first message of this connection that made sense.
  private heardAt = 0;
  private pingAt: number | undefined; // The ping that has no pong yet.
  private attemptTimer: Timer;
  private pingTimer: Timer;
  private pongTimer: Timer;
  private againTimer: Timer;
  private expiryTimer: Timer;
  private lingerTimer: Timer;

  constructor(readonly options: ClientOptions = {}) {
    this.settings = {
      pingInterval: 20_000, pongTimeout: 8_000, connectTimeout: 10_000, outbox: 1000, giveUpAfter: 300_000, linger: 500,
      random: Math.random, ...options,
    };
    this.key = options.key ?? newKey();
    this.reconnect = new Reconnect(options.reconnect);
    this.outbox = new Outbox(this.settings.outbox);
  }

  // Watching

  /** Be told of a counter until the returned function is called. Throws CounterError for a name that none can have. */
  watch(name: string, watcher: Watcher): () => void {
    const known = this.counters.get(checked(name));
    if (!known && this.counters.size >= COUNTERS_MAX) this.forget();
    if (!known && this.counters.size >= COUNTERS_MAX) {
      throw new CounterError("TOO_MANY_COUNTERS", `one client watches ${COUNTERS_MAX} counters at most`);
    }
    const watched = known ?? { counter: new Counter(!this.options.events), watchers: new Set(), view: undefined };
    const own: Watcher = (view, update) => watcher(view, update); // The same function may watch twice.
    this.counters.set(name, watched);
    watched.watchers.add(own);
    if (watched.watchers.size === 1) this.fresh.add(name);
    this.soon();
    return () => {
      if (!watched.watchers.delete(own) || watched.watchers.size) return;
      this.fresh.delete(name);
      this.leaveLater();
    };
  }

  /** What there is to show of a counter. The same object until it changes. */
  view(name: string): View {
    const watched = this.counters.get(name);
    if (!watched) return NOTHING_KNOWN;
    watched.view ??= watched.counter.view(this.outbox.of(name));
    return watched.view;
  }

  /** Call `listener` whenever `state` or `problem` has changed, until the returned function is called. */
  onState(listener: () => void): () => void {
    const own = () => listener();
    this.listeners.add(own);
    return () => this.listeners.delete(own);
  }

  // Operations. Each is applied once, however often the connection breaks. They reject with CounterError.

  increment(name: string, amount = 1): Promise<Enriched> {
    return this.operate(name, "increment", amount);
  }

  decrement(name: string, amount = 1): Promise<Enriched> {
    return this.operate(name, "decrement", amount);
  }

  setValue(name: string, value: number): Promise<Enriched> {
    return this.operate(name, "setValue", value);
  }

  reset(name: string): Promise<Enriched> {
    return this.operate(name, "reset", 0);
  }

  // Likes of `member`, who counts once; `Like` is for buttons. `foreseen`: what to add to the value meanwhile.

  like(name: string, member: string, foreseen = 0): Promise<Liked> {
    return this.operate(name, "like.add", foreseen, member);
  }

  unlike(name: string, member: string, foreseen = 0): Promise<Liked> {
    return this.operate(name, "like.remove", foreseen, member);
  }

  toggleLike(name: string, member: string, foreseen = 0): Promise<Liked> {
    return this.operate(name, "like.toggle", foreseen, member);
  }

  /** Any other procedure, over HTTP: `call("getHistory", { name: "votes" })`, `call("like.getCounts", { names })`. */
  call<Output = any>(procedure: string, input: object, options: CallOptions = {}): Promise<Output> {
    const { url, fetch } = this.options;
    return call(procedure, input, { url, fetch, ...options });
  }

  // The connection

  /** Do not wait any longer: try now, and begin again with short pauses. */
  retry(): void {
    this.reconnect.reset();
    if (this.state === "closed") this.become("idle");
    if (this.state === "waiting") this.connect();
    else this.soon();
  }

  /** End the connection. What has no answer is rejected. Nothing happens any more until `retry()`. */
  close(): void {
    this.end("CLOSED", "the client is closed", null);
  }

  private end(code: string, message: string, found: Problem | null): void {
    this.drop();
    this.become("closed", found);
    for (const operation of this.outbox.expire(Infinity)) {
      this.conclude(operation, new CounterError(code, message, { uncertain: operation.sends > 0 }));
    }
    clearTimeout(this.expiryTimer);
    this.leave();
  }

  private operate(name: string, type: OperationType | LikeType, number: number, member?: string): Promise<any> {
    return new Promise((resolve, reject) => {
      checked(name);
      const least = type.endsWith("crement") ? 1 : -VALUE_MAX;
      if (!Number.isSafeInteger(number) || number < least) {
        throw new CounterError("COUNTER_VALIDATION_ERROR", `an integer from ${least} to ${VALUE_MAX}`);
      }
      if (this.state === "closed") throw new CounterError("CLOSED", "the client is closed", { retryable: true });
      this.outbox.add({ name, type, number, member, at: performance.now(), resolve, reject });
      this.changed(name);
      if (this.state === "open") this.send();
      this.expireLater();
      this.soon();
    });
  }

  /** At the end of this turn, connect or subscribe, if there is anything to do. */
  private soon(): void {
    if (this.turn) return;
    this.turn = true;
    queueMicrotask(() => {
      this.turn = false;
      if (this.state === "open") this.subscribe([...this.fresh]);
      else if (this.state === "idle" && this.needed) this.connect();
    });
  }

  private get needed(): boolean {
    return this.outbox.size > 0 || [...this.counters.values()].some(({ watchers }) => watchers.size > 0);
  }

  private connect(): void {
    clearTimeout(this.attemptTimer);
    const { key, options: { url, attachment, events, rate } } = this;
    let socket: WebSocket;
    try {
      const parameters = { key, attachment: JSON.stringify(attachment), events: events && [...events].sort(), rate };
      socket = new (this.options.WebSocket ?? WebSocket)(wsUrl(url, "/ws", parameters));
    } catch (error) {
      // What we were told is of no use, and will not be the next time.
      const message = `No connection can be made: ${(error as Error).message}`;
      return this.end("UNUSABLE", message, { kind: "unusable", message });
    }
    this.socket = socket;
    this.workedSince = undefined;
    socket.onopen = () => this.opened();
    socket.onmessage = ({ data }) => this.hear(read(data));
    socket.onerror = () => {}; // The close that follows says more.
    socket.onclose = ({ code, reason }) => this.lost(code, reason);
    this.attemptTimer = setTimeout(() => {
      socket.close();
      this.lost(1006, "");
    }, this.settings.connectTimeout);
    this.attend(true);
    this.become("connecting");
  }

  private opened(): void {
    clearTimeout(this.attemptTimer);
    if (this.connections++) this.metrics.reconnects += 1;
    this.heardAt = performance.now();
    this.become("open");
    // The first pong shows that it is our service that speaks.
    this.ping();
    this.subscribe([...this.counters.keys()].filter((name) => this.counters.get(name)!.watchers.size));
    this.send();
  }

  private subscribe(names: string[]): void {
    this.fresh.clear();
    const place = (name: string) => this.counters.get(name)?.counter.since;
    const unknown = names.filter((name) => !place(name));
    for (const chunk of chunks(unknown)) this.say({ type: "subscribe", names: chunk, snapshot: true });
    for (const chunk of chunks(names.filter(place))) {
      const since = Object.fromEntries(chunk.map((name) => [name, place(name)!.count]));
      const lives = Object.fromEntries(chunk.map((name) => [name, place(name)!.life]));
      this.say({ type: "subscribe", names: chunk, since, lives });
    }
  }

  /** Put on the wire what this connection has not been given yet. */
  private send(): void {
    for (const { id, name, type, number, member, sends } of this.outbox.take()) {
      if (sends > 1) this.metrics.resends += 1;
      const amount = type === "setValue" ? { value: number } : type.endsWith("crement") ? { amount: number } : {};
      this.say({ type, name, id, member, ...amount });
    }
    if (performance.now() - this.heardAt > QUIET_MS) this.ping();
  }

  private say(message: object): void {
    this.metrics.sent += 1;
    this.socket?.send(JSON.stringify(message));
  }

  private hear(message: Message | null): void {
    if (!message) {
      this.metrics.nonsense += 1;
      return;
    }
    this.metrics.received += 1;
    this.heardAt = performance.now();
    if (this.workedSince === undefined) {
      this.workedSince = this.heardAt;
      this.become("open", null);
    }
    if (message.kind === "update") this.update(message.update);
    else if (message.kind === "pong") this.pong(message.timestamp);
    else if (message.kind === "result") this.answered(message.id, message.result);
    else if (message.retryable && this.outbox.again(message.id ?? "")) this.sendAgain();
    else {
      this.metrics.errors += 1;
      this.answered(message.id, new CounterError(message.code, message.message, { data: message.data }));
    }
  }

  private update(update: Update): void {
    const { name } = update.metadata;
    const watched = this.counters.get(name);
    if (!watched) return;
    const verdict = watched.counter.hear(update, this.outbox.of(name).length > 0);
    if (verdict === "new") this.changed(name, update);
    else if (verdict === "known") this.metrics.repeated += 1;
    else {
      this.metrics.gaps += 1;
      this.subscribe([name]);
    }
  }

  private answered(id: string | undefined, outcome: Result | CounterError): void {
    const operation = this.outbox.settle(id ?? "");
    if (!operation) return;
    this.conclude(operation, outcome);
    if (!this.outbox.size) this.leaveLater();
  }

  private conclude({ name, resolve, reject }: Operation, outcome: Result | CounterError): void {
    const refused = outcome instanceof CounterError;
    this.counters.get(name)?.counter.answered(refused ? null : outcome, this.outbox.of(name).length > 0);
    this.changed(name);
    if (refused) reject(outcome);
    else resolve(outcome);
  }

  /** What the service could not do just now, it is asked for again a little later, under the same id. */
  private sendAgain(): void {
    clearTimeout(this.againTimer);
    this.againTimer = setTimeout(() => this.send(), AGAIN_MS * (1 + this.settings.random()));
  }

  private changed(name: string, update?: Update): void {
    const watched = this.counters.get(name);
    if (!watched) return;
    watched.view = undefined;
    const view = this.view(name);
    for (const watcher of [...watched.watchers]) {
      try {
        watcher(view, update);
      } catch (error) {
        // A watcher's mistake is its own: reported like any other, and nobody else misses anything.
        setTimeout(() => { throw error; });
      }
    }
  }

  // Alive or dead

  private ping(): void {
    clearTimeout(this.pingTimer);
    this.pingTimer = setTimeout(() => this.ping(), this.settings.pingInterval);
    if (this.pingAt !== undefined) return;
    const asked = (this.pingAt = performance.now());
    this.say({ type: "ping" });
    this.pongTimer = setTimeout(() => {
      // Anything that was heard since shows life; a pong that is lost among it is no reason to go.
      if (this.heardAt <= asked) this.lost(1006, "");
      else this.pingAt = undefined;
    }, this.settings.pongTimeout);
  }

  private pong(timestamp: string | undefined): void {
    if (this.pingAt === undefined) return;
    clearTimeout(this.pongTimer);
    measured(this.metrics, performance.now() - this.pingAt, Date.parse(timestamp ?? ""), Date.now());
    this.pingAt = undefined;
  }

  /** The connection, or the attempt at one, is over, and nobody here wanted that. */
  private lost(code: number, reason: string): void {
    const lived = this.workedSince === undefined ? 0 : performance.now() - this.workedSince;
    if (this.state === "open") this.metrics.drops += 1;
    this.drop();
    if (!this.needed) return this.rest();
    if (categorize(code) === "refused") {
      const found = problem("refused");
      return this.end("REFUSED", reason || found.message, found);
    }
    const pause = this.reconnect.ended(code, reason, lived, this.settings.random());
    this.attend(true);
    this.attemptTimer = setTimeout(() => this.connect(), pause);
    this.become("waiting");
    if (this.reconnect.failures >= SUSPICIOUS || globalThis.navigator?.onLine === false) void this.askWhy();
  }

  private async askWhy(): Promise<void> {
    const found = await diagnose(this.options.url, this.options.fetch ?? fetch, this.settings.connectTimeout);
    if (this.workedSince === undefined && (this.state === "waiting" || this.state === "connecting")) {
      this.become(this.state, found);
    }
  }

  /** Let go of the socket and of whatever waits for it. */
  private drop(): void {
    for (const timer of [this.attemptTimer, this.pingTimer, this.pongTimer, this.againTimer]) clearTimeout(timer);
    this.pingAt = undefined;
    this.attend(false);
    this.outbox.disconnected();
    for (const { counter } of this.counters.values()) counter.resumed();
    if (this.socket) closeWebSocket(this.socket);
    this.socket = undefined;
  }

  private readonly wake = (): void => {
    if (globalThis.document?.hidden) return;
    if (this.state === "waiting") {
      this.reconnect.reset();
      this.connect();
    } else if (this.state === "open" && performance.now() - this.heardAt > QUIET_MS) this.ping();
  };

  /** The network is back, or gone, or somebody looks at the page again: no reason to sit out a pause. */
  private attend(on: boolean): void {
    const change = on ? "addEventListener" : "removeEventListener";
    for (const event of ["online", "offline", "pageshow"]) globalThis.window?.[change]?.(event, this.wake);
    globalThis.document?.[change]?.("visibilitychange", this.wake);
  }

  private become(state: ConnectionState, found?: Problem | null): void {
    const reason = found === undefined ? this.problem : (found ?? undefined);
    if (state === this.state && reason === this.problem) return;
    this.state = state;
    this.problem = reason;
    for (const listener of [...this.listeners]) listener();
  }

  // The end of things

  /** Shortly after the last watcher has gone: it may be back at once, as in React's strict mode. */
  private leaveLater(): void {
    // Not later for everybody else who leaves meanwhile: on a lively page it would never happen.
    if (this.lingerTimer && this.needed) return;
    clearTimeout(this.lingerTimer);
    this.lingerTimer = setTimeout(() => this.leave(), this.settings.linger);
  }

  private leave(): void {
    clearTimeout(this.lingerTimer);
    this.lingerTimer = undefined;
    if (this.state !== "closed" && !this.needed) this.rest();
    this.forget();
  }

  /** Unsubscribe from what nobody watches. */
  private forget(): void {
    const left = [...this.counters.keys()].filter((name) => !this.counters.get(name)!.watchers.size && !this.outbox.of(name).length);
    for (const name of left) this.counters.delete(name);
    if (this.state === "open") for (const chunk of chunks(left)) this.say({ type: "unsubscribe", names: chunk });
  }

  private rest(): void {
    this.drop();
    this.reconnect.reset();
    this.become("idle", null);
  }

  private expireLater(): void {
    clearTimeout(this.expiryTimer);
    if (!this.outbox.size || this.settings.giveUpAfter === Infinity) return;
    this.expiryTimer = setTimeout(() => {
      for (const operation of this.outbox.expire(performance.now() - this.settings.giveUpAfter)) {
        const uncertain = operation.sends > 0;
        this.metrics.errors += 1;
        this.conclude(operation, new CounterError("NO_ANSWER", "the service gave no answer", { retryable: true, uncertain }));
      }
      if (this.outbox.size) this.expireLater();
      else this.leaveLater();
    }, Math.min(this.settings.giveUpAfter, 1_000));
  }
}

type Timer = ReturnType<typeof setTimeout> | undefined;

function* chunks(names: string[]): Generator<string[]> {
  for (let from = 0; from < names.length; from += SUBSCRIBE_MAX) yield names.slice(from, from + SUBSCRIBE_MAX);
}

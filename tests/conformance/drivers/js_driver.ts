// The JavaScript client, driven by lines of JSON: tests/conformance/README.md says which.

import { createInterface } from "node:readline";
import { WebSocket as NodeWebSocket } from "ws";
import { call, CounterClient, CounterError, type CounterEvent, type Update } from "../../../clients/js/src/index.js";

type Told = Record<string, any>;

function say(said: object): void {
  process.stdout.write(JSON.stringify(said) + "\n");
}

/** One client, and who watches through it. */
class Client {
  private readonly counters: CounterClient;
  private readonly stops = new Map<string, () => void>();
  private state = "";

  constructor(private readonly name: string, private readonly told: Told) {
    const { base = 0.02, cap = 0.1, quiet = 20, patience = 10, answer = 30, events, rate, attachment } = told.options ?? {};
    this.counters = new CounterClient({
      url: told.url,
      reconnect: { base: base * 1000, cap: cap * 1000 },
      pingInterval: quiet * 1000,
      pongTimeout: patience * 1000,
      giveUpAfter: answer * 1000,
      WebSocket: NodeWebSocket as unknown as typeof WebSocket,
      ...(events && { events }),
      ...(rate !== undefined && { rate }),
      ...(attachment !== undefined && { attachment }),
    });
    this.counters.onState(() => this.became());
  }

  close(): void {
    for (const stop of this.stops.values()) stop();
    this.counters.close();
  }

  do(told: Told): void {
    if (told.do === "watch") {
      const stop = this.counters.watch(told.name, (_, update) => update && say({ say: "event", client: this.name, ...described(update) }));
      this.stops.set(told.name, stop);
    } else if (told.do === "unwatch") {
      this.stops.get(told.name)?.();
    } else {
      void this.answer(told);
    }
  }

  private async answer(told: Told): Promise<void> {
    const answered = { client: this.name, as: told.as };
    try {
      say({ say: "done", ...answered, value: await this.operate(told) });
    } catch (error) {
      if (!(error instanceof CounterError)) throw error;
      const { code, retryable, uncertain } = error;
      say({ say: "failed", ...answered, code, retryable, uncertain });
    }
  }

  private async operate(told: Told): Promise<number> {
    const { name, amount = 1, value, key, procedure, member } = told;
    switch (told.do) {
      case "increment": return (await this.counters.increment(name, amount)).value;
      case "decrement": return (await this.counters.decrement(name, amount)).value;
      case "setValue": return (await this.counters.setValue(name, value)).value;
      case "reset": return (await this.counters.reset(name)).value;
      case "like.toggle": return (await this.counters.toggleLike(name, member)).newCount;
      case "like.add": return (await this.counters.like(name, member)).newCount;
      case "like.remove": return (await this.counters.unlike(name, member)).newCount;
      default: return (await call<{ value: number }>(procedure, { name }, { url: this.told.url, ...(key && { key }) })).value;
    }
  }

  private became(): void {
    if (this.state === this.counters.state) return; // Its problem may have changed instead.
    this.state = this.counters.state;
    say({ say: "state", client: this.name, state: this.state });
  }
}

function described({ type, value, metadata, ...more }: Update): object {
  const { previousValue = null, operations = 1, reason = null, member = null } = more as Partial<CounterEvent>;
  return {
    name: metadata.name, type, value, previous: previousValue, life: metadata.id, seq: metadata.operationCount, operations, reason, member,
  };
}

const clients = new Map<string, Client>();
say({ say: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const told: Told = JSON.parse(line);
  if (told.do === "open") clients.set(told.client, new Client(told.client, told));
  else if (told.do === "close") {
    clients.get(told.client)?.close();
    clients.delete(told.client);
    say({ say: "closed", client: told.client });
  } else clients.get(told.client)?.do(told);
}
for (const client of clients.values()) client.close();

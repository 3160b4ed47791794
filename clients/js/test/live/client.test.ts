import { expect, test } from "vitest";
import { call, CounterClient, CounterError, type View } from "../../src/index.js";
import { checkSequence, newClient, newName, record, until, url } from "../support/live.js";

test("values are live, optimistic at once, and confirmed", async () => {
  const [ours, theirs, name] = [newClient(), newClient(), newName()];
  const heard = record(theirs, name);
  const views: View[] = [];
  ours.watch(name, (view) => views.push(view));
  await until(theirs, () => theirs.view(name).confirmed === 0);
  record(ours, name);
  await until(ours, () => ours.view(name).confirmed === 0);

  const answer = ours.increment(name, 3);
  expect(ours.view(name)).toMatchObject({ value: 3, confirmed: 0, pending: 1 });
  expect((await answer).value).toBe(3);
  expect(ours.view(name)).toMatchObject({ value: 3, confirmed: 3, pending: 0 });
  await until(theirs, () => theirs.view(name).value === 3);

  await ours.decrement(name);
  await ours.setValue(name, 40);
  await ours.reset(name);
  await until(theirs, () => heard.length === 5);
  expect(heard.map(({ type }) => type)).toEqual(["snapshot", "increment", "decrement", "setValue", "reset"]);
  checkSequence(heard);
  expect(views.every(({ value }, index) => index === 0 || value !== undefined)).toBe(true);
});

test("many operations at once never show a value that was not there", async () => {
  const [client, name] = [newClient(), newName()];
  record(client, name);
  await until(client, () => client.view(name).confirmed === 0);
  const shown: number[] = [];
  client.watch(name, ({ value }) => shown.push(value!));
  await Promise.all(Array.from({ length: 200 }, () => client.increment(name)));
  expect(shown.every((value, index) => value >= (shown[index - 1] ?? 0) && value <= 200)).toBe(true);
  expect(client.view(name).value).toBe(200);
});

test("a refusal rolls back and says why", async () => {
  const [client, name] = [newClient(), newName()];
  await client.call("create", { name, policy: { maximum: 5, on_limit: "reject" } });
  record(client, name);
  await until(client, () => client.view(name).confirmed === 0);
  const refused = client.increment(name, 6);
  expect(client.view(name).value).toBe(6);
  await expect(refused).rejects.toMatchObject({ code: "LIMIT_REACHED", retryable: false, uncertain: false });
  expect(client.view(name)).toMatchObject({ value: 0, pending: 0 });
});

test("values at both ends of what is exact", async () => {
  const [client, name] = [newClient(), newName()];
  await client.call("create", { name, policy: { minimum: -Number.MAX_SAFE_INTEGER } });
  for (const value of [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]) {
    expect((await client.setValue(name, value)).value).toBe(value);
  }
  await expect(client.increment(name)).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
});

test.each(["", "..", "a/b", "<b>", "x".repeat(101)])("%j is refused before anything is sent", async (name) => {
  const client = newClient();
  expect(() => client.watch(name, () => {})).toThrow(CounterError);
  await expect(client.increment(name)).rejects.toMatchObject({ code: "COUNTER_VALIDATION_ERROR" });
  expect(client.state).toBe("idle");
});

test.each([0, -1, 1.5, 2 ** 53, NaN])("an amount of %d is refused before anything is sent", async (amount) => {
  await expect(newClient().increment("votes", amount)).rejects.toMatchObject({ code: "COUNTER_VALIDATION_ERROR" });
});

test("names with every allowed character", async () => {
  const client = newClient();
  const name = `${newName()}_AZaz09-.:`;
  await client.increment(name);
  expect((await client.call("getValue", { name })).value).toBe(1);
});

test("a hundred counters, one connection", async () => {
  const [client, names] = [newClient(), Array.from({ length: 101 }, newName)];
  for (const name of names) record(client, name);
  await Promise.all(names.map((name) => client.increment(name)));
  await until(client, () => names.every((name) => client.view(name).confirmed === 1));
  expect(client.metrics).toMatchObject({ reconnects: 0, gaps: 0, nonsense: 0, errors: 0 });
  const { count } = await client.call("getSessions", { name: names[0] });
  expect(count).toBe(1);
});

test("the outbox is bounded", async () => {
  const [client, name] = [newClient({ outbox: 2 }), newName()];
  const kept = [client.increment(name), client.increment(name)];
  await expect(client.increment(name)).rejects.toMatchObject({ code: "OUTBOX_FULL", retryable: true });
  await Promise.all(kept);
});

test("after the last watcher has gone nothing is left; coming back at once costs nothing", async () => {
  const [client, name] = [newClient({ linger: 0 }), newName()];
  const states: string[] = [];
  client.onState(() => states.push(client.state));
  client.watch(name, () => {})();
  const stop = client.watch(name, () => {});
  await until(client, () => client.state === "open");
  stop();
  await until(client, () => client.state === "idle");
  expect(states).toEqual(["connecting", "open", "idle"]);
});

test("leaving while it connects leaves nothing behind", async () => {
  const [client, name] = [newClient({ linger: 0 }), newName()];
  const stop = client.watch(name, () => {});
  await until(client, () => client.state === "connecting");
  stop();
  await until(client, () => client.state === "idle");
  const other = newClient();
  expect((await other.call("getSessions", { name })).count).toBe(0);
});

test("a closed client says so, and retry begins again", async () => {
  const [client, name] = [newClient(), newName()];
  record(client, name);
  await until(client, () => client.state === "open");
  client.close();
  await expect(client.increment(name)).rejects.toMatchObject({ code: "CLOSED" });
  client.retry();
  await client.increment(name);
  await until(client, () => client.view(name).value === 1);
});

test("a watcher that throws is reported, and nobody else misses anything", async () => {
  const [client, name] = [newClient(), newName()];
  const usual = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const reported = new Promise((resolve) => process.once("uncaughtException", resolve));
  client.watch(name, () => {
    throw new Error("a watcher's own");
  });
  const heard = record(client, name);
  await until(client, () => heard.length === 1);
  expect(await reported).toMatchObject({ message: "a watcher's own" });
  for (const each of usual) process.on("uncaughtException", each);
});

test("procedures over HTTP", async () => {
  const name = newName();
  await call("increment", { name, amount: 2 }, { url, key: "once" });
  await call("increment", { name, amount: 2 }, { url, key: "once" });
  expect(await call("getValue", { name }, { url })).toEqual({ name, value: 2 });
  await expect(call("getMetadata", { name: newName() }, { url })).rejects.toMatchObject({ code: "COUNTER_NOT_FOUND" });
  await expect(call("nothing", {}, { url })).rejects.toMatchObject({ code: "NOT_FOUND", retryable: false });
});

test("nobody to reach: the client waits and says so", async () => {
  const client = new CounterClient({ url: "http://127.0.0.1:1", reconnect: { base: 1, cap: 1 } });
  const outcome = client.increment("votes").catch((error) => error);
  await until(client, () => client.problem);
  expect(client.state).toBe("waiting");
  expect(client.problem).toMatchObject({ kind: "unreachable" });
  client.close();
  expect(await outcome).toMatchObject({ code: "CLOSED", uncertain: false });
});

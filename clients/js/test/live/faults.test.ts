import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { checkSequence, control, newClient, newName, record, until, url } from "../support/live.js";
import { Proxy } from "../support/proxy.js";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function proxied(): Promise<Proxy> {
  const proxy = await Proxy.before(url);
  closing.push(() => proxy.close());
  return proxy;
}

/** A service of the wrong kind. */
async function impostor(answer: (connection: import("ws").WebSocket) => void, status = 200): Promise<string> {
  const http = createServer((_, response) => response.writeHead(status, { location: "/login" }).end("<html>"));
  const sockets = new WebSocketServer({ noServer: true });
  http.on("upgrade", (request, socket, head) => {
    if (status === 200) sockets.handleUpgrade(request, socket, head, answer);
    else socket.end(`HTTP/1.1 ${status} No\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n`);
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  closing.push(() => {
    sockets.clients.forEach((client) => client.terminate());
    http.closeAllConnections();
    http.close();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

test.each(["cut", "garble"] as const)("%s, again and again: each operation once, each event once", async (fault) => {
  const [proxy, name] = [await proxied(), newName()];
  const [ours, theirs] = [newClient({ url: proxy.url }), newClient({ url: proxy.url })];
  const heard = [record(ours, name), record(theirs, name)];
  const answers: Promise<unknown>[] = [];
  for (let round = 0; round < 8; round += 1) {
    for (let click = 0; click < 25; click += 1) answers.push(ours.increment(name));
    await answers[answers.length - 13];
    proxy[fault]();
    answers.push(ours.increment(name));
  }
  await Promise.all(answers);
  await until(theirs, () => theirs.view(name).confirmed === answers.length);
  await until(ours, () => heard[0]!.at(-1)?.value === answers.length);
  heard.forEach(checkSequence);
  expect(ours.view(name)).toMatchObject({ value: answers.length, pending: 0 });
  expect(ours.metrics.reconnects).toBeGreaterThan(0);
});

test("a network that swallows everything is noticed, and left", async () => {
  const [proxy, name] = [await proxied(), newName()];
  const client = newClient({ url: proxy.url, pingInterval: 50, pongTimeout: 200 });
  record(client, name);
  await until(client, () => client.view(name).confirmed === 0);
  proxy.freeze();
  const lost = until(client, () => client.state === "waiting");
  const answer = client.increment(name);
  await lost;
  proxy.thaw();
  expect((await answer).value).toBe(1);
});

test("a network that is away for a while: nothing is lost, nothing doubled", async () => {
  const [proxy, name] = [await proxied(), newName()];
  const client = newClient({ url: proxy.url });
  const heard = record(client, name);
  await until(client, () => client.view(name).confirmed === 0);
  await proxy.close();
  await until(client, () => client.state === "waiting");
  const answers = [client.increment(name), client.increment(name)];
  expect(client.view(name)).toMatchObject({ value: 2, confirmed: 0, pending: 2 });
  const other = newClient();
  await other.increment(name, 10);
  await proxy.open();
  client.retry();
  await Promise.all(answers);
  await until(client, () => heard.at(-1)?.value === 12);
  checkSequence(heard);
});

test("gateways are killed: the client comes back by itself and misses nothing", async () => {
  const [ours, theirs, name] = [newClient(), newClient(), newName()];
  const heard = [record(ours, name), record(theirs, name)];
  await ours.increment(name);
  await until(theirs, () => theirs.view(name).confirmed === 1);
  const killed = control("kill/gateway");
  const answers = Array.from({ length: 50 }, () => ours.increment(name));
  await until(ours, () => ours.state !== "open");
  answers.push(...Array.from({ length: 50 }, () => ours.increment(name)));
  await killed;
  await Promise.all(answers);
  await until(theirs, () => heard[1]!.at(-1)?.value === 101);
  await until(ours, () => heard[0]!.at(-1)?.value === 101);
  heard.forEach(checkSequence);
});

test("hosts are killed: no client has to reconnect", async () => {
  const [ours, theirs, name] = [newClient(), newClient(), newName()];
  const heard = record(theirs, name);
  await ours.increment(name);
  await until(theirs, () => theirs.view(name).confirmed === 1);
  const killed = control("kill/host");
  const answers = Array.from({ length: 100 }, () => ours.increment(name));
  await Promise.all(answers);
  await killed;
  await until(theirs, () => heard.at(-1)?.value === 101);
  checkSequence(heard);
  expect([ours.metrics.drops, theirs.metrics.drops]).toEqual([0, 0]);
});

test("a gateway that drains names a window, and is come back to within it", async () => {
  const [client, name] = [newClient({ random: () => 0.01 }), newName()];
  const heard = record(client, name);
  await client.increment(name);
  await control("drain");
  await until(client, () => client.state === "waiting");
  const answer = client.increment(name);
  await answer;
  await until(client, () => heard.at(-1)?.value === 2);
  checkSequence(heard);
});

test.each([
  [503, "unavailable"], [401, "refused"], [403, "refused"], [302, "redirected"], [426, "blocked"], [200, "redirected"],
] as const)("HTTP %d instead of a WebSocket: %s, and the client goes on trying", async (status, kind) => {
  const server = await impostor((connection) => connection.terminate(), status);
  const client = newClient({ url: server, reconnect: { base: 1, cap: 1 } });
  record(client, "votes");
  await until(client, () => client.problem);
  expect(client.problem).toMatchObject({ kind });
  expect(["waiting", "connecting"]).toContain(client.state);
});

test("a server that talks nonsense is not believed, and left", async () => {
  const said = ["<html>", "{", "[]", '{"type":"increment","value":"1"}', '{"type":"snapshot"}', "\u0000"];
  const server = await impostor((connection) => said.forEach((each) => connection.send(each)));
  const client = newClient({ url: server, pingInterval: 50, pongTimeout: 100 });
  const heard = record(client, "votes");
  await until(client, () => client.state === "waiting");
  expect(client.metrics.nonsense).toBe(said.length);
  expect(heard).toEqual([]);
});

test("a service that refuses us is left alone until somebody asks again", async () => {
  let connections = 0;
  const server = await impostor((connection) => {
    connections += 1;
    connection.close(1008, "no");
  });
  const client = newClient({ url: server });
  record(client, "votes");
  await until(client, () => client.state === "closed");
  expect(client.problem).toMatchObject({ kind: "refused" });
  client.retry();
  await until(client, () => connections === 2 && client.state === "closed");
});

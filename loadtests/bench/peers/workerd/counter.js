// The counter as a Cloudflare Durable Object, written the way workerd rewards: SQLite storage that is
// read once per wake, WebSocket hibernation, one encoding per event however many sockets hear it.
import { DurableObject } from "cloudflare:workers";

const LATEST = 5; // Operations shown with every result.

const TABLES = `
  CREATE TABLE IF NOT EXISTS counter (
    id INTEGER PRIMARY KEY, value INTEGER NOT NULL, operation_count INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, operation TEXT NOT NULL,
    previous_value INTEGER NOT NULL, new_value INTEGER NOT NULL, at TEXT NOT NULL);`;

export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.name = ctx.id.name;
    this.sql = ctx.storage.sql;
    this.row = null; // Nothing stored yet.
    this.latest = [];
    // Answered by the runtime itself, so that a ping does not wake a sleeping object.
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    this.load();
  }

  load() {
    this.sql.exec(TABLES);
    this.row = this.sql.exec("SELECT * FROM counter WHERE id = 1").toArray()[0] ?? null;
    this.latest = this.sql
      .exec("SELECT * FROM history ORDER BY id DESC LIMIT ?", LATEST)
      .toArray()
      .map((row) => ({
        id: row.id,
        operation: row.operation,
        previousValue: row.previous_value,
        newValue: row.new_value,
        timestamp: row.at,
      }));
  }

  value() {
    return this.row?.value ?? 0;
  }

  // Returns the result as JSON. The runtime's output gate holds it, and every event sent here,
  // until the writes are on disk.
  increment(amount) {
    const timestamp = new Date().toISOString();
    const row = (this.row ??= { value: 0, operation_count: 0, created_at: timestamp });
    const previousValue = row.value;
    row.value += amount;
    row.operation_count += 1;
    row.updated_at = timestamp;

    const entry = {
      id: row.operation_count,
      operation: `increment(${amount})`,
      previousValue,
      newValue: row.value,
      timestamp,
    };
    this.latest = [entry, ...this.latest.slice(0, LATEST - 1)];
    this.store(row, entry);

    const metadata = this.metadata();
    this.broadcast({ type: "increment", value: row.value, previousValue, metadata, timestamp });
    return JSON.stringify({
      name: this.name,
      value: row.value,
      previousValue,
      metadata,
      latestHistory: this.latest,
      timestamp,
    });
  }

  store(row, entry) {
    this.sql.exec(
      "INSERT OR REPLACE INTO counter VALUES (1, ?, ?, ?, ?)",
      row.value,
      row.operation_count,
      row.created_at,
      row.updated_at,
    );
    this.sql.exec(
      "INSERT INTO history VALUES (?, ?, ?, ?, ?)",
      entry.id,
      entry.operation,
      entry.previousValue,
      entry.newValue,
      entry.timestamp,
    );
  }

  metadata() {
    const { value, operation_count, created_at, updated_at } = this.row;
    return {
      id: 1,
      name: this.name,
      value,
      createdAt: created_at,
      updatedAt: updated_at,
      operationCount: operation_count,
    };
  }

  broadcast(event) {
    const sockets = this.ctx.getWebSockets();
    if (sockets.length === 0) return;
    const text = JSON.stringify(event);
    for (const socket of sockets) {
      try {
        socket.send(text);
      } catch {
        // It is closing; its webSocketClose comes later.
      }
    }
  }

  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, text) {
    const { type, amount = 1, id } = JSON.parse(text);
    if (type !== "increment") {
      socket.send(JSON.stringify({ type: "error", code: "COUNTER_VALIDATION_ERROR", message: type, id }));
      return;
    }
    const result = this.increment(amount);
    // Joined as text: the result is JSON already, encoding it twice would be waste.
    socket.send(`{"type":"incrementResult","id":${JSON.stringify(id)},"result":${result}}`);
  }

  webSocketClose(socket, code) {
    socket.close(code === 1006 ? 1000 : code);
  }
}

const JSON_HEADERS = { "content-type": "application/json" };

async function increment(request, env) {
  const { name, amount = 1 } = await request.json();
  return new Response(await env.COUNTER.getByName(name).increment(amount), { headers: JSON_HEADERS });
}

async function getValue(request, env) {
  const { name } = await request.json();
  const value = await env.COUNTER.getByName(name).value();
  return Response.json({ name, value });
}

const SOCKET_PATH = "/ws/counter/";

export default {
  fetch(request, env) {
    const path = request.url.slice(request.url.indexOf("/", 8)); // After "http://host"; `new URL` costs more.
    if (path === "/rpc/counter.increment") return increment(request, env);
    if (path === "/rpc/counter.getValue") return getValue(request, env);
    if (path === "/readyz") return new Response("ok");
    if (!path.startsWith(SOCKET_PATH)) return new Response("not found", { status: 404 });
    if (request.headers.get("upgrade") !== "websocket") return new Response("upgrade", { status: 426 });
    return env.COUNTER.getByName(decodeURIComponent(path.slice(SOCKET_PATH.length))).fetch(request);
  },
};

// A stretch of network between a client and the service that a test can cut, freeze and garble.

import { createServer, connect, type Server, type Socket } from "node:net";
import { once } from "node:events";

export class Proxy {
  url = "";
  private readonly pairs = new Set<[Socket, Socket]>();
  private frozen = false;
  private server!: Server;
  private port = 0;

  private constructor(private readonly target: URL) {}

  static async before(url: string): Promise<Proxy> {
    const proxy = new Proxy(new URL(url));
    await proxy.open();
    return proxy;
  }

  /** Listen, again on the same port. */
  async open(): Promise<void> {
    this.server = createServer((near) => {
      const far = connect(Number(this.target.port), this.target.hostname);
      const pair: [Socket, Socket] = [near, far];
      this.pairs.add(pair);
      for (const [from, to] of [pair, [far, near] as const]) {
        if (this.frozen) from.pause();
        from.on("data", (data) => to.write(data));
        from.on("error", () => {});
        from.on("close", () => {
          to.destroy();
          this.pairs.delete(pair);
        });
      }
    });
    this.server.listen(this.port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = (this.server.address() as { port: number }).port;
    this.url = `http://127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.pairs.size;
  }

  /** End every connection without a word. */
  cut(): void {
    for (const [near, far] of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }

  /** Whatever is sent goes nowhere, and nobody is told. */
  freeze(): void {
    this.frozen = true;
    for (const [near, far] of this.pairs) {
      near.pause();
      far.pause();
    }
  }

  thaw(): void {
    this.frozen = false;
    for (const [near, far] of this.pairs) {
      near.resume();
      far.resume();
    }
  }

  /** Half a frame, and then the end. */
  garble(): void {
    for (const [near] of this.pairs) near.write(Buffer.from([0x81, 0x7e, 0x01, 0x00, 0x7b]), () => near.destroy());
  }

  /** Refuse connections, and cut those there are. */
  async close(): Promise<void> {
    const closed = once(this.server, "close");
    this.server.close();
    this.cut();
    await closed;
  }
}

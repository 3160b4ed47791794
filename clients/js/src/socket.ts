// A plain WebSocket to one counter, for who wants to see every message and to decide everything. It does not come back
// by itself; CounterClient does.

import { checked, wsUrl } from "./address.js";

export interface CounterSocketOptions {
  /** Where the service is; else the page's own origin. */
  url?: string;
  /** Send the state as it is, first. */
  snapshot?: boolean;
  /** Resume: send what came after this `operationCount`, of the counter whose `metadata.id` was `life`. */
  since?: number;
  life?: number;
  /** Makes the `id` of operations sent over this socket known on later sockets. */
  key?: string;
  /** At most so many events a second. */
  rate?: number;
  WebSocket?: typeof WebSocket;
  onOpen?: (event: Event) => void;
  /** Gets each message, parsed. What is no JSON goes to `onError`. */
  onMessage?: (message: any) => void;
  onClose?: (event: CloseEvent) => void;
  onError?: (event: Event | Error) => void;
}

/** Open a WebSocket to `/ws/counter/<name>`. Throws CounterError when no counter can be called that. */
export function createCounterWebSocket(name: string, options: CounterSocketOptions = {}): WebSocket {
  const { onOpen, onMessage, onClose, onError, snapshot, since, life, key, rate } = options;
  const parameters = { snapshot: snapshot ? 1 : undefined, since, life, key, rate };
  const url = wsUrl(options.url, `/ws/counter/${encodeURIComponent(checked(name))}`, parameters);
  const socket = new (options.WebSocket ?? WebSocket)(url);
  socket.onopen = (event) => onOpen?.(event);
  socket.onclose = (event) => onClose?.(event);
  socket.onerror = (event) => onError?.(event);
  socket.onmessage = ({ data }) => {
    let message;
    try {
      message = JSON.parse(data);
    } catch (error) {
      onError?.(error as Error);
      return;
    }
    onMessage?.(message);
  };
  return socket;
}

/** Ask for a pong. False when the socket is not open. */
export function sendPing(socket: WebSocket): boolean {
  if (socket.readyState !== 1) return false;
  socket.send('{"type":"ping"}');
  return true;
}

/** Close a socket and hear no more of it, not even of its end. */
export function closeWebSocket(socket: WebSocket): void {
  socket.onmessage = socket.onclose = null;
  socket.onerror = () => {}; // Some implementations throw what nobody listens to.
  // A browser complains in its console when a socket is closed that is still connecting.
  if (socket.readyState === 0) socket.onopen = () => socket.close(1000);
  else {
    socket.onopen = null;
    socket.close(1000);
  }
}

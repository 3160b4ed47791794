// @vitest-environment happy-dom
import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { act, cleanup, render, renderHook, screen, waitFor } from "@testing-library/react";
import { StrictMode, type ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, expect, test } from "vitest";
import { CounterClient } from "../../src/index.js";
import { CounterProvider, useConnection, useCounter, useCounters, useCounterWebSocket, useLike } from "../../react/index.js";
import * as query from "../../react/query.js";
import { control, newClient, newName } from "../support/live.js";

afterEach(cleanup);

/** Strict mode mounts everything twice. */
const within = (client: CounterClient) =>
  ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <CounterProvider client={client}>{children}</CounterProvider>
    </StrictMode>
  );

const watching = async (name: string) => (await newClient().call("getSessions", { name })).count;

test("useCounter: live, optimistic, and what is refused is taken back", async () => {
  const [client, name] = [newClient(), newName()];
  await client.call("create", { name, policy: { maximum: 5, on_limit: "reject" } });
  const { result } = renderHook(() => useCounter(name), { wrapper: within(client) });
  expect(result.current).toMatchObject({ value: undefined, pending: 0 });
  await waitFor(() => expect(result.current.value).toBe(0));
  act(() => void result.current.increment(2));
  expect(result.current).toMatchObject({ value: 2, confirmed: 0, pending: 1 });
  await waitFor(() => expect(result.current).toMatchObject({ value: 2, confirmed: 2, pending: 0 }));
  act(() => void result.current.increment(9));
  expect(result.current.value).toBe(11);
  await waitFor(() => expect(result.current.error).toMatchObject({ code: "LIMIT_REACHED" }));
  expect(result.current.value).toBe(2);
  await act(async () => void (await result.current.decrement()));
  await act(async () => void (await result.current.setValue(4)));
  await waitFor(() => expect(result.current).toMatchObject({ value: 4, error: undefined }));
  await act(async () => void (await result.current.reset()));
  await waitFor(() => expect(result.current).toMatchObject({ value: 0, metadata: { operationCount: 4 } }));
});

test("useLike: live, optimistic, and what is refused is taken back", async () => {
  const [client, name] = [newClient(), newName()];
  await client.call("create", { name, policy: { likes: true, maximum: 1 } });
  const { result, rerender } = renderHook(({ member }) => useLike(name, member), {
    wrapper: within(client), initialProps: { member: "ann" },
  });
  expect(result.current).toMatchObject({ count: undefined, isLiked: undefined, pending: 0 });
  await waitFor(() => expect(result.current).toMatchObject({ count: 0, isLiked: false }));
  act(() => void result.current.toggle());
  expect(result.current).toMatchObject({ count: 1, isLiked: true, pending: 1 });
  await waitFor(() => expect(result.current).toMatchObject({ count: 1, isLiked: true, pending: 0, error: undefined }));
  rerender({ member: "bob" });
  await waitFor(() => expect(result.current).toMatchObject({ count: 1, isLiked: false }));
  act(() => void result.current.toggle());
  expect(result.current).toMatchObject({ count: 2, isLiked: true });
  await waitFor(() => expect(result.current.error).toMatchObject({ code: "LIMIT_REACHED" }));
  expect(result.current).toMatchObject({ count: 1, isLiked: false, pending: 0 });
  await newClient().unlike(name, "ann");
  await waitFor(() => expect(result.current.count).toBe(0));
  await act(async () => void (await result.current.toggle()));
  expect(result.current).toMatchObject({ count: 1, isLiked: true, error: undefined });
});

test("useCounters: many counters on one connection, and only changes render", async () => {
  const [client, names] = [newClient(), Array.from({ length: 50 }, newName)];
  const { result, rerender } = renderHook(() => useCounters([...names]), { wrapper: within(client) });
  await waitFor(() => expect(names.every((name) => result.current[name]?.value === 0)).toBe(true));
  const before = result.current;
  rerender();
  expect(result.current).toBe(before);
  await newClient().increment(names[7]!, 7);
  await waitFor(() => expect(result.current[names[7]!]!.value).toBe(7));
  expect(result.current[names[8]!]).toBe(before[names[8]!]);
  expect(client.metrics.reconnects).toBe(0);
});

test("strict mode opens one connection, and the last component closes it", async () => {
  const [client, name] = [newClient({ linger: 0 }), newName()];
  const states: string[] = [];
  client.onState(() => states.push(client.state));
  const { result, unmount } = renderHook(() => ({ ...useCounter(name), ...useConnection() }), { wrapper: within(client) });
  await waitFor(() => expect(result.current).toMatchObject({ state: "open", value: 0 }));
  expect(await watching(name)).toBe(1);
  unmount();
  await waitFor(() => expect(client.state).toBe("idle"));
  await waitFor(async () => expect(await watching(name)).toBe(0));
  expect(states).toEqual(["connecting", "open", "idle"]);
});

test("leaving while connecting leaves nothing behind", async () => {
  const [client, name] = [newClient({ linger: 0 }), newName()];
  for (const hook of [useCounter, useCounterWebSocket]) {
    const { unmount } = renderHook(() => hook(name), { wrapper: within(client) });
    await Promise.resolve();
    unmount();
  }
  await waitFor(() => expect(client.state).toBe("idle"));
  await waitFor(async () => expect(await watching(name)).toBe(0));
});

test("on a server nothing is opened, and the page shows what is not known yet", () => {
  const client = newClient();
  const Page = () => {
    const [{ value }, views, { state }, { isConnecting }] = [
      useCounter("votes"), useCounters(["a", "b"]), useConnection(), useCounterWebSocket("votes"),
    ];
    return <p>{`${value} ${Object.keys(views)} ${state} ${isConnecting}`}</p>;
  };
  expect(renderToString(<CounterProvider client={client}><Page /></CounterProvider>)).toBe("<p>undefined a,b idle false</p>");
  expect(client.state).toBe("idle");
});

test("useCounterWebSocket: connected, told, disconnected, reconnected, switched off", async () => {
  const [client, name] = [newClient(), newName()];
  const heard: string[] = [];
  const { result, rerender } = renderHook(
    ({ enabled }) => useCounterWebSocket(name, { enabled, onUpdate: ({ type }) => heard.push(type), reconnectInterval: 50 }),
    { wrapper: within(client), initialProps: { enabled: true } },
  );
  await waitFor(() => expect(result.current).toMatchObject({ isConnected: true, isConnecting: false, error: null }));
  await waitFor(() => expect(result.current.lastUpdate?.type).toBe("snapshot"));
  await newClient().increment(name);
  await waitFor(() => expect(result.current.lastUpdate).toMatchObject({ type: "increment", value: 1 }));
  act(() => result.current.disconnect());
  expect(result.current.isConnected).toBe(false);
  await newClient().increment(name);
  act(() => result.current.reconnect());
  await waitFor(() => expect(result.current.lastUpdate?.value).toBe(2));
  expect(heard).toEqual(["snapshot", "increment", "increment"]);
  rerender({ enabled: false });
  expect(result.current).toMatchObject({ isConnected: false, lastUpdate: null });
  await waitFor(async () => expect(await watching(name)).toBe(0));
});

test("useCounterWebSocket comes back when the gateway was killed", async () => {
  const [client, name] = [newClient(), newName()];
  const { result } = renderHook(() => useCounterWebSocket(name, { reconnectInterval: 100 }), { wrapper: within(client) });
  await waitFor(() => expect(result.current.isConnected).toBe(true));
  await control("kill/gateway");
  await newClient().increment(name);
  await waitFor(() => expect(result.current.lastUpdate?.value).toBe(1), { timeout: 20_000 });
});

test("with TanStack Query: values and metadata are set, histories are asked for again", async () => {
  const [client, name, cache] = [newClient(), newName(), new QueryClient()];
  await client.increment(name);
  const queries = query.counterQueries(client);
  const Page = () => {
    query.useCounterWebSocket(name);
    const value = useQuery(queries.getValue(name)).data;
    const metadata = useQuery(queries.getMetadata(name)).data;
    const history = useQuery(queries.getHistory(name)).data;
    return <p>{`${value?.value} ${metadata?.operationCount} ${history?.[0]?.operation}`}</p>;
  };
  const Wrapper = within(client);
  render(<Wrapper><QueryClientProvider client={cache}><Page /></QueryClientProvider></Wrapper>);
  await waitFor(() => expect(screen.getByText("1 1 increment(1)")).toBeTruthy());
  await client.increment(name, 4);
  await waitFor(() => expect(screen.getByText("5 2 increment(4)")).toBeTruthy());
  await client.call("delete", { name });
  await waitFor(() => expect(screen.getByText(/^0 /)).toBeTruthy());
  cleanup();
  cache.clear();
});

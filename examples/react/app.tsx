import { CounterClient } from "durable-counters";
import { CounterProvider, useConnection, useCounter } from "durable-counters/react";
import { createRoot } from "react-dom/client";

const service = new URLSearchParams(location.search).get("service") ?? "http://127.0.0.1:8094";

function Seats() {
  const { value, pending, error, decrement, increment } = useCounter("seats");
  const { state } = useConnection();
  return (
    <main>
      <h1>{value ?? "…"} seats</h1>
      <button onClick={() => decrement()} disabled={value === 0}>Take one</button>
      <button onClick={() => increment()}>Give one back</button>
      <p role="status">{error?.message ?? (pending ? "Saving" : state)}</p>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <CounterProvider client={new CounterClient({ url: service })}>
    <Seats />
  </CounterProvider>,
);

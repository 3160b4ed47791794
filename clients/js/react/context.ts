// Which client the hooks use.

import { createContext, createElement, useContext, type ReactElement, type ReactNode } from "react";
import { CounterClient } from "../src/index.js";

const Context = createContext<CounterClient | null>(null);
let ofThisPage: CounterClient | undefined;

/** Gives all hooks below it a client. */
export function CounterProvider({ client, children }: { client: CounterClient; children?: ReactNode }): ReactElement {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the nearest provider; without one, a client for the page's own origin. Nothing is opened by asking. */
export function useCounterClient(): CounterClient {
  return useContext(Context) ?? (ofThisPage ??= new CounterClient());
}

// What the types say; `npm run types` checks it.

import { expectTypeOf, test } from "vitest";
import { CounterClient, type Described } from "../../src/index.js";
import { counterQueries } from "../../react/query.js";

test("getMetadata tells the whole policy", () => {
  expectTypeOf<keyof Described["policy"]>().toEqualTypeOf<
    "minimum" | "maximum" | "on_limit" | "initial" | "reset_after" | "reset_schedule" | "reset_to" | "history_limit"
    | "history_max_age" | "missed" | "likes"
  >();
  const query = counterQueries(new CounterClient()).getMetadata("votes");
  expectTypeOf<Awaited<ReturnType<Extract<typeof query.queryFn, (...given: any[]) => unknown>>>>().toEqualTypeOf<Described>();
});

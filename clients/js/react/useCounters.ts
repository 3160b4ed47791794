import { useMemo, useSyncExternalStore } from "react";
import { NOTHING_KNOWN, type View } from "../src/index.js";
import { useCounterClient } from "./context.js";

export type Views = Readonly<Record<string, View>>;

/** Many counters, live, on one connection: the view of each by its name. None as long as there are no names. */
export function useCounters(names: readonly string[] | null | undefined): Views {
  const client = useCounterClient();
  const list = names?.join(",");
  const store = useMemo(() => {
    const wanted = list ? list.split(",") : [];
    let views: Views = {};
    return {
      watch(changed: () => void) {
        const stops: (() => void)[] = [];
        const stop = () => stops.forEach((each) => each());
        try {
          for (const name of wanted) stops.push(client.watch(name, changed));
        } catch (error) {
          stop(); // React calls nothing for what has failed.
          throw error;
        }
        return stop;
      },
      // The same object until one of them changes.
      read() {
        if (wanted.some((name) => views[name] !== client.view(name))) {
          views = Object.fromEntries(wanted.map((name) => [name, client.view(name)]));
        }
        return views;
      },
      nothing: Object.fromEntries(wanted.map((name) => [name, NOTHING_KNOWN])) as Views,
    };
  }, [client, list]);
  return useSyncExternalStore(store.watch, store.read, () => store.nothing);
}

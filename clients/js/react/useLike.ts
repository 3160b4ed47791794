import { useCallback, useMemo, useSyncExternalStore } from "react";
import { CounterError, type Liked } from "../src/index.js";
import { Like, NOTHING_LIKED, type LikeView } from "../src/like.js";
import { useCounterClient } from "./context.js";
import { useRefusal, type Pending } from "./useRefusal.js";

/** Whether `member` likes something, and how many do, live. `toggle` shows at once and is taken back when it is refused;
 * `error` is the newest refusal. Its promise need not be waited for. Without a name or a member nothing is watched, and
 * `toggle` is refused. */
export function useLike(name: Pending, member: Pending): LikeView & { toggle(): Promise<Liked>; error: CounterError | undefined } {
  const client = useCounterClient();
  const [error, report] = useRefusal(client, name, member);
  const like = useMemo(() => (name == null || member == null ? undefined : new Like(client, name, member)), [client, name, member]);
  const watch = useCallback((changed: () => void) => like?.watch(changed) ?? (() => {}), [like]);
  const view = useSyncExternalStore(watch, () => like?.view ?? NOTHING_LIKED, () => NOTHING_LIKED);
  const toggle = useCallback(() => {
    const answer = like?.toggle() ?? Promise.reject(new CounterError("COUNTER_VALIDATION_ERROR", "there is no name or no member yet"));
    answer.then(() => report(undefined), report); // Handled here, so nobody else has to.
    return answer;
  }, [like, report]);
  return { ...view, toggle, error };
}

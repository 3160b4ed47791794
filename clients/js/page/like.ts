// The button of a counter of likes. Whoever uses this browser is one member.

import { newKey } from "../src/index.js";
import { Like } from "../src/like.js";
import { attempt, setText } from "./frame.js";
import { byId, counters } from "./service.js";

const PLACE = "durable-counters-member";

export function startLike(name: string): void {
  const button = byId("like");
  const like = new Like(counters, name, member());

  function show(): void {
    const { isLiked } = like.view;
    button.setAttribute("aria-pressed", `${isLiked === true}`);
    setText(byId("like-text"), isLiked ? "Liked" : "Like");
  }

  button.addEventListener("click", () => void attempt(byId("problem"), () => like.toggle()));
  like.watch(show);
  show();
}

/** The same on every visit; without storage, until the page is left. */
function member(): string {
  const made = `guest-${newKey()}`;
  try {
    const known = localStorage.getItem(PLACE);
    if (!known) localStorage.setItem(PLACE, made);
    return known || made;
  } catch {
    return made;
  }
}

// The page. Which view it is, the service has written into the HTML.

import { startCounter } from "./counter.js";
import { startFrame } from "./frame.js";
import { startList } from "./list.js";
import { startTotals } from "./totals.js";

const VIEWS: Record<string, () => void> = { list: startList, counter: startCounter, totals: startTotals };
const view = document.body.dataset.view!;

startFrame(view);
VIEWS[view]?.();

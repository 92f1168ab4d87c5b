// Chooses the view by the address, when it is known who is signed in.
import { followCount } from "./attention_count.js";
import { attendKeys, explainKeys } from "./keys.js";
import { permissions } from "./config.js";
import { byId, fill } from "./dom.js";
import { startClock, switchZone, isUtc } from "./format.js";
import { Page, asksToSignIn } from "./page.js";
import { attendPlaces } from "./places.js";
import { pause } from "./api.js";
import { skeleton } from "./parts.js";

const VIEWS = [
  [/^\/$/, () => import("./overview.js")],
  [/^\/attention$/, () => import("./attention.js")],
  [/^\/jobs$/, () => import("./jobs.js")],
  [/^\/jobs\/(?<id>[^/]+)$/, () => import("./job.js")],
  [/^\/batches$/, () => import("./batches.js")],
  [/^\/batches\/(?<batch>[^/]+)$/, () => import("./batch.js")],
  [/^\/kinds$/, () => import("./kinds.js")],
  [/^\/kinds\/(?<kind>[^/]+)$/, () => import("./kind.js")],
  [/^\/schedules$/, () => import("./schedules.js")],
  [/^\/schedules\/(?<name>[^/]+)$/, () => import("./schedule.js")],
  [/^\/callbacks$/, () => import("./callbacks.js")],
  [/^\/workers$/, () => import("./workers.js")],
  [/^\/bulk-actions$/, () => import("./bulk_actions.js")],
  [/^\/bulk-actions\/(?<id>[^/]+)$/, () => import("./bulk_action.js")],
  [/^\/audit$/, () => import("./audit.js")],
  [/^\/tokens$/, () => import("./tokens.js")],
  [/^\/load-test$/, () => import("./load_test.js")],
];
const AGAIN_MS = 2000;

function attendZone() {
  const button = byId("zone");
  const show = () => { button.textContent = isUtc() ? "UTC" : "Local time"; };
  button.addEventListener("click", () => { switchZone(); show(); });
  show();
}

// Waits for the gateway where it does not respond yet, and for a person's token where it asks for one.
async function meet(page) {
  for (;;) {
    try {
      await page.meet();
      return;
    } catch (problem) {
      if (page.signal.aborted) throw problem;
      if (asksToSignIn(problem)) {
        await page.signIn(problem);
        continue;
      }
      if (problem.isPassing !== true) throw problem;
      page.lost(problem);
    }
    await pause(AGAIN_MS, page.signal);
  }
}

async function begin() {
  attendPlaces();
  attendZone();
  attendKeys();
  startClock();
  byId("keys").addEventListener("click", explainKeys);
  const found = VIEWS.map(([pattern, load]) => [pattern.exec(location.pathname), load]).find(([match]) => match !== null);
  const page = new Page(found?.[0], byId("main"));
  if (found === undefined) {
    page.notFound();
    return;
  }
  fill(page.main, skeleton());
  try {
    const [view] = await Promise.all([found[1](), meet(page)]);
    fill(page.main);
    if (page.may(permissions.read)) followCount(page);
    await view.show(page);
  } catch (error) {
    if (!page.signal.aborted) page.failed(error);
  }
}

// A page that comes back from the history of the browser begins anew, since its work has ended.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
begin();

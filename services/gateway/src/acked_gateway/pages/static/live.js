// Jobs that a page shows, live: at most one call for each frame of the screen, however many events arrive.
import { Line, followScope } from "./feed.js";
import { gatewayResponds } from "./api.js";

// One event for several of a job: the newest one, with the newest start, and how many transitions it stands for.
function merged(known, event) {
  const before = known ?? { started_at: null, transitions: 0 };
  return {
    ...(before.rev === event.rev ? before : {}),
    ...event,
    started_at: event.reason === "claimed" ? event.at : before.started_at,
    transitions: before.transitions + (before.rev === event.rev ? 0 : 1),
  };
}

export class LiveJobs {
  #page;
  #show;
  #pending = new Map();
  #isDrawing = false;
  #leave = () => {};
  isLive = false;

  // `show` gets a Map of the newest event of each job: `{rev, state, reason, attempt, at, progress?}`, see
  // docs/feed.md, with what `merged` adds.
  constructor(page, show) {
    this.#page = page;
    this.#show = show;
  }

  // Follows this scope, and no longer the one before; null ends it. Where the feed refuses it, the page polls as before.
  follow(scope) {
    this.#leave();
    this.isLive = false;
    if (scope === null) return;
    const own = new AbortController();
    const signal = AbortSignal.any([own.signal, this.#page.signal]);
    this.#leave = () => own.abort();
    followScope(scope, { take: (frame) => this.#take(frame), tell: (line) => this.#turn(line), answers: gatewayResponds, signal })
      .catch(() => { if (!signal.aborted) this.isLive = false; });
  }

  #turn(line) {
    this.isLive = line === Line.LIVE;
    if (line === Line.LIVE) this.#page.heard();
    else if (line === Line.LOST) this.#page.lost();
  }

  #take(frame) {
    for (const event of frame.jobs ?? frame.events ?? []) {
      const known = this.#pending.get(event.id);
      if (known === undefined || event.rev >= known.rev) this.#pending.set(event.id, merged(known, event));
    }
    if (this.#isDrawing || this.#pending.size === 0) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      const events = this.#pending;
      this.#pending = new Map();
      if (!this.#page.signal.aborted) this.#show(events);
    });
  }
}

// Keeps a page fresh by asking again, and is honest where the gateway does not respond.
import { UNAUTHORIZED, pause } from "./api.js";

const AT_MOST_MS = 10_000;
// What `show` returns where the figures will not change any more.
export const FINAL = Symbol("final");

const whenSeen = (signal) => new Promise((resolve) => {
  if (!document.hidden) { resolve(); return; }
  const look = () => { if (!document.hidden) { document.removeEventListener("visibilitychange", look); resolve(); } };
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", resolve, { once: true });
});

// Calls `load(signal)` now and again every `everyMs`, and gives the result to `show`. A tab that nobody sees asks nothing.
// Passing problems leave what is shown, and the page's line says since when it is old; others are shown.
// Where `show` returns FINAL, it asks no more.
export class Refresh {
  #page;
  #wake = () => {};

  constructor(page, { everyMs, load, show }) {
    this.#page = page;
    this.done = this.#run(everyMs, load, show).catch((error) => {
      if (!page.signal.aborted) page.failed(error);
    });
  }

  // Asks now, such as after a command.
  now() {
    this.#wake();
  }

  async #run(everyMs, load, show) {
    const { signal } = this.#page;
    for (let failures = 0; !signal.aborted;) {
      const round = new AbortController();
      const stop = () => round.abort();
      this.#wake = stop;
      signal.addEventListener("abort", stop, { once: true });
      try {
        const loaded = await load(signal);
        if (signal.aborted) return;
        failures = 0;
        this.#page.heard();
        if (show(loaded) === FINAL) return;
      } catch (problem) {
        if (signal.aborted) return;
        if (problem.document?.status === UNAUTHORIZED || problem.isPassing !== true) throw problem;
        failures += 1;
        this.#page.lost(problem);
      }
      const waits = failures === 0 ? everyMs : Math.min(Math.max(everyMs, 500) * 2 ** (failures - 1), AT_MOST_MS);
      await pause(waits, round.signal).catch(() => {});
      signal.removeEventListener("abort", stop);
      await whenSeen(signal);
    }
  }
}

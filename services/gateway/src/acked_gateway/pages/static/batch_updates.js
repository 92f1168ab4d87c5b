// The counts of a batch as they change: over the live feed, or by polling where no WebSocket gets through.
import { Line, followScope } from "./feed.js";
import { ask, batchAddress, gatewayResponds, pause } from "./api.js";
import { Tally } from "./tally.js";

const POLL_EVERY_MS = 500;
const POLL_AT_MOST_MS = 5_000;

// The response of `/batches/{batch}`, asked for again while the gateway is away; `tellProblem` gets what is wrong meanwhile.
export async function askBatch(batch, tellProblem, signal) {
  for (let wait = POLL_EVERY_MS; ; wait = Math.min(wait * 2, POLL_AT_MOST_MS)) {
    try {
      const response = await ask(batchAddress(batch), { signal });
      tellProblem(null);
      return response;
    } catch (problem) {
      const lasting = problem.document?.status >= 400 && problem.document.status < 500;
      if (signal.aborted || lasting || !("document" in problem)) throw problem;
      tellProblem(problem);
    }
    await pause(wait, signal);
  }
}

// Follows from now on until `signal` aborts; the jobs need not be there yet. `show` gets each new `{total, states}`,
// once a frame of the screen at most; `tellLine` one of `Line`; `tellProblem` what is wrong for a while, or null.
export class BatchUpdates {
  #batch;
  #show;
  #tellProblem;
  #signal;
  #counts = null;
  #waiting = new Set();
  #failure = null;
  #isDrawing = false;
  #polling = null;

  constructor(batch, { show, tellLine, tellProblem, signal }) {
    this.#batch = batch;
    this.#show = show;
    this.#tellProblem = tellProblem;
    this.#signal = signal;
    const tally = new Tally();
    followScope({ batch }, {
      take: (frame) => { if (tally.take(frame)) this.#note(tally.counts); },
      tell: (line) => { this.#pollWhile(line === Line.BLOCKED); tellLine(line); },
      answers: gatewayResponds,
      signal,
    }).catch((problem) => this.#fail(problem));
  }

  // Resolves when the newest `{total, states}` fits `isDone`; rejects when following ends.
  until(isDone) {
    return new Promise((resolve, reject) => {
      const waiter = { isDone, resolve, reject };
      if (this.#failure !== null) reject(this.#failure);
      else if (this.#counts !== null && isDone(this.#counts)) resolve();
      else this.#waiting.add(waiter);
    });
  }

  #note(counts) {
    this.#counts = counts;
    for (const waiter of this.#waiting) {
      if (!waiter.isDone(counts)) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      if (!this.#signal.aborted) this.#show(this.#counts);
    });
  }

  #fail(problem) {
    this.#failure = problem;
    this.#polling?.abort();
    for (const waiter of this.#waiting) waiter.reject(problem);
    this.#waiting.clear();
  }

  #pollWhile(isBlocked) {
    if (!isBlocked) {
      this.#polling?.abort();
      this.#polling = null;
    } else if (this.#polling === null) {
      this.#polling = new AbortController();
      this.#poll(this.#polling.signal);
    }
  }

  async #poll(signal) {
    while (!signal.aborted) {
      try {
        this.#note(await askBatch(this.#batch, this.#tellProblem, signal));
      } catch (problem) {
        // A batch that is not there yet may still come.
        if (!signal.aborted && problem.document?.status !== 404) this.#fail(problem);
      }
      await pause(POLL_EVERY_MS, signal).catch(() => {});
    }
  }
}

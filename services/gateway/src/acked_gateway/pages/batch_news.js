// The only place that knows how news of a batch arrive: over the live feed, or by asking again and again where no
// WebSocket gets through.
import { Line, followScope } from "./feed.js";
import { ask, pause } from "./shared.js";
import { Tally } from "./tally.js";

const ASK_EVERY_MS = 500;
const ASK_AGAIN_AT_MOST_MS = 5_000;
const ANSWERS_WITHIN_MS = 3_000;

const batchUrl = (batch) => `/batches/${encodeURIComponent(batch)}`;

// The answer of `/batches/{batch}`, asked again while the gateway is away; `tellProblem` gets what is wrong meanwhile.
export async function askBatch(batch, tellProblem, signal) {
  for (let wait = ASK_EVERY_MS; ; wait = Math.min(wait * 2, ASK_AGAIN_AT_MOST_MS)) {
    try {
      const answer = await ask(batchUrl(batch), { signal });
      tellProblem(null);
      return answer;
    } catch (problem) {
      const lasting = problem.document?.status >= 400 && problem.document.status < 500;
      if (signal.aborted || lasting || !("document" in problem)) throw problem;
      tellProblem(problem);
    }
    await pause(wait, signal);
  }
}

async function gatewayAnswers() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(ANSWERS_WITHIN_MS) })).ok;
  } catch {
    return false;
  }
}

// Follows from now on until `signal` aborts; the jobs need not be there yet. `show` gets each new `{total, states}`,
// once a frame of the screen at most; `tellLine` one of `Line`; `tellProblem` what is wrong for a while, or null.
export class BatchNews {
  #batch;
  #show;
  #tellProblem;
  #signal;
  #answer = null;
  #waiting = new Set();
  #failure = null;
  #isDrawing = false;
  #asking = null;

  constructor(batch, { show, tellLine, tellProblem, signal }) {
    this.#batch = batch;
    this.#show = show;
    this.#tellProblem = tellProblem;
    this.#signal = signal;
    const tally = new Tally();
    followScope({ batch }, {
      take: (frame) => { if (tally.take(frame)) this.#note(tally.answer); },
      tell: (line) => { this.#askWhile(line === Line.BLOCKED); tellLine(line); },
      answers: gatewayAnswers,
      signal,
    }).catch((problem) => this.#fail(problem));
  }

  // Resolves when the newest `{total, states}` fits `isDone`; rejects when following ends.
  until(isDone) {
    return new Promise((resolve, reject) => {
      const waiter = { isDone, resolve, reject };
      if (this.#failure !== null) reject(this.#failure);
      else if (this.#answer !== null && isDone(this.#answer)) resolve();
      else this.#waiting.add(waiter);
    });
  }

  #note(answer) {
    this.#answer = answer;
    for (const waiter of this.#waiting) {
      if (!waiter.isDone(answer)) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      if (!this.#signal.aborted) this.#show(this.#answer);
    });
  }

  #fail(problem) {
    this.#failure = problem;
    this.#asking?.abort();
    for (const waiter of this.#waiting) waiter.reject(problem);
    this.#waiting.clear();
  }

  #askWhile(isBlocked) {
    if (!isBlocked) {
      this.#asking?.abort();
      this.#asking = null;
    } else if (this.#asking === null) {
      this.#asking = new AbortController();
      this.#askAgainAndAgain(this.#asking.signal);
    }
  }

  async #askAgainAndAgain(signal) {
    while (!signal.aborted) {
      try {
        this.#note(await askBatch(this.#batch, this.#tellProblem, signal));
      } catch (problem) {
        // A batch that is not there yet may still come.
        if (!signal.aborted && problem.document?.status !== 404) this.#fail(problem);
      }
      await pause(ASK_EVERY_MS, signal).catch(() => {});
    }
  }
}

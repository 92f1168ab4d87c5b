// Runs the load test that the address asks for, then follows its batch. By itself it does so only with the one-time value
// that the gateway has put into the shell, else it waits for a click. An address with a batch only follows it, so that a
// reload, a step back or a shared link starts nothing.
import { BatchUpdates, askBatch } from "./batch_updates.js";
import { Line } from "./feed.js";
import { CallFigures, JobFigures, Samples, ended } from "./load_figures.js";
import { ask, pause } from "./api.js";
import { permissions } from "./config.js";
import { fill, h, say } from "./dom.js";
import { count } from "./format.js";
import { problemBox, textField } from "./parts.js";

const SUBSCRIBED_WITHIN_MS = 1000;
const ASK_AGAIN_MS = 500;
const SHOW_ELAPSED_EVERY_MS = 100;
const HEADING = "Load test";
const lineWords = {
  [Line.CONNECTING]: "Connecting to the live feed …",
  [Line.LIVE]: "Live.",
  [Line.LOST]: "The connection is lost, reconnecting …",
  [Line.BLOCKED]: "The live feed can't be reached from here: polling twice a second instead.",
};
const seconds = (value) => `${value.toFixed(1)} s`;

function newBatchName() {
  const at = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const random = crypto.getRandomValues(new Uint8Array(3));
  return `load-${at}-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

class LoadTest {
  #page;
  #current = null;
  #beganAt = 0;
  #samples = new Samples();
  #doing = h("span", { id: "doing" }, "Getting ready …");
  #line = h("span", { id: "feed-line" });
  #problem = h("div", { id: "problem", hidden: true });
  #stop = h("button", { id: "stop", type: "button", class: "quiet", disabled: true }, "Stop");
  #kinds = h("datalist", { id: "kinds" });
  #calls = new CallFigures();
  #jobs = new JobFigures();
  form;

  constructor(page) {
    this.#page = page;
    page.setTitle(HEADING);
    const mayRun = page.may(permissions.submit);
    this.form = h("form", { id: "form", class: "card row" },
      h("label", "Calls at once", h("input", { name: "count", type: "number", min: 1, max: 100_000, value: 1000, inputmode: "numeric", required: true })),
      textField("kind", "Kind", "demo", { list: "kinds", required: true }),
      this.#kinds, mayRun && h("button", { id: "run", type: "submit" }, "Run"), this.#stop,
      !mayRun && h("p", "Your token can't send requests: it needs the permission submit. You can follow the tests of others."));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (mayRun) this.run(this.form.elements.count.value, this.form.elements.kind.value.trim());
    });
    this.#stop.addEventListener("click", () => this.#current?.abort());
    page.signal.addEventListener("abort", () => this.#current?.abort());
    fill(page.main, this.form, h("p", { class: "doing", role: "status", "aria-live": "polite" }, this.#doing, " ", this.#line), this.#problem,
      h("div", { class: "grid" }, this.#calls.element, this.#jobs.element));
  }

  say(text) {
    say(this.#doing, text);
  }

  suggest(kinds) {
    fill(this.#kinds, kinds.map(({ kind }) => h("option", { value: kind })));
  }

  // `once` is the one-time value, where no person has pressed Run.
  run(calls, kind, batch = newBatchName(), once = undefined) {
    return this.#attended(async (signal) => {
      this.#jobs.nameBatch(batch);
      // Before anything is started: whoever comes to this address again only follows.
      history.replaceState(null, "", `?${new URLSearchParams({ count: calls, kind, batch })}`);
      this.say(`Making ${calls} calls at once …`);
      // Before the first job is there, so that all of its moves are seen; without a line the test begins all the same.
      const news = this.#newsOf(batch, signal);
      await Promise.race([news.until(() => true), pause(SUBSCRIBED_WITHIN_MS, signal)]);
      this.#beganAt = Date.now();
      const result = await this.#makeCalls(new URLSearchParams({ count: calls, kind, batch }), batch, once, signal);
      if (result !== null) {
        this.#calls.show(result);
        this.say(`${count(result.persisted)} calls are persisted. Following their jobs …`);
      } else {
        this.say("The gateway stopped during the calls. Following the persisted jobs …");
      }
      await this.#followToTheEnd(batch, news, signal, result?.persisted);
    });
  }

  follow(batch) {
    const before = new Samples(history.state?.samples);
    return this.#attended(async (signal) => {
      this.say("Following the batch …");
      this.#jobs.nameBatch(batch);
      this.#samples = before;
      const found = await askBatch(batch, (problem) => this.#tellPassing(problem), signal);
      this.#calls.show(found.load_test ?? null);
      if (found.first_at) this.#beganAt = Date.parse(found.first_at);
      this.#showBatch(found);
      await this.#followToTheEnd(batch, this.#newsOf(batch, signal), signal);
    });
  }

  // Runs `work(signal)` with Stop at hand and ends what ran before.
  async #attended(work) {
    this.#current?.abort();
    const mine = new AbortController();
    this.#current = mine;
    this.#clear();
    this.#stop.disabled = false;
    this.#beganAt = Date.now();
    const clock = setInterval(() => this.#showElapsed(), SHOW_ELAPSED_EVERY_MS);
    try {
      await work(mine.signal);
    } catch (problem) {
      if (this.#current !== mine || this.#page.signal.aborted) return;
      if (mine.signal.aborted) {
        this.say("Stopped. Persisted jobs continue.");
        this.#page.setTitle(HEADING, "stopped · Load test");
      } else {
        this.say("The test did not succeed.");
        this.#page.setTitle(HEADING, "failed · Load test");
        this.#show(problem);
      }
    } finally {
      clearInterval(clock);
      // Ends what still follows.
      mine.abort();
      if (this.#current === mine) {
        this.#stop.disabled = true;
        this.#tellLine(null);
      }
    }
  }

  #clear() {
    this.#show(null);
    this.#calls.show(null);
    this.#samples = new Samples();
    this.#jobs.clear();
    this.#page.setTitle(HEADING);
  }

  #show(problem) {
    this.#problem.hidden = problem === null;
    fill(this.#problem, problem === null ? null : problemBox(problem));
  }

  #tellLine(line) {
    say(this.#line, lineWords[line] ?? "");
    if (line === Line.LIVE || line === Line.BLOCKED) this.#page.heard();
    else if (line === Line.LOST) this.#page.lost();
  }

  // What will pass stands in the line of the page: a box that comes and goes would move the figures.
  #tellPassing(problem) {
    if (problem === null) this.#page.heard();
    else this.#page.lost();
  }

  #newsOf(batch, signal) {
    // What an earlier test was told late is nothing to this one.
    const attended = (tell) => (what) => { if (!signal.aborted) tell(what); };
    return new BatchUpdates(batch, {
      show: (found) => { if (found.total > 0) this.#showBatch(found); },
      tellLine: attended((line) => this.#tellLine(line)),
      tellProblem: attended((problem) => this.#tellPassing(problem)),
      signal,
    });
  }

  #showBatch(found, isLast = false) {
    this.#jobs.show(found);
    this.#samples.take((Date.now() - this.#beganAt) / 1000, found, isLast);
    this.#jobs.draw(this.#samples.all);
    this.#page.setTitle(HEADING, `${isLast ? "done" : `${count(ended(found))}/${count(found.total)}`} · Load test`);
  }

  #showElapsed() {
    this.#jobs.showElapsed(seconds(Math.max(Date.now() - this.#beganAt, 0) / 1000));
  }

  async #followToTheEnd(batch, news, signal, atLeast = 1) {
    const isDone = (found) => found.total >= atLeast && ended(found) === found.total;
    let last;
    do {
      // What was the end before the line was lost need not be the end.
      if (last !== undefined) await pause(ASK_AGAIN_MS, signal);
      await news.until(isDone);
      last = await askBatch(batch, (problem) => this.#tellPassing(problem), signal);
    } while (!isDone(last));
    const lasted = last.duration_s == null ? "" : `, ${seconds(last.duration_s)} from the first call to the last end`;
    if (last.duration_s != null) this.#beganAt = Date.now() - last.duration_s * 1000;
    if (last.load_test) this.#calls.show(last.load_test);
    this.#showBatch(last, true);
    this.#showElapsed();
    // The reload of this page has them again; the gateway keeps the figures alone.
    history.replaceState({ samples: this.#samples.all }, "");
    this.say(`All ${count(last.total)} jobs have ended${lasted}.`);
  }

  // The figures of the calls; null where the gateway went away before it could tell them, and calls were kept.
  async #makeCalls(query, batch, once, signal) {
    const proof = once === undefined ? {} : { "Acked-Run-Once": once };
    try {
      return await ask(`/load-test?${query}`, { method: "POST", signal, headers: proof, lasts: true });
    } catch (problem) {
      if (problem.document?.requested != null) this.#calls.show(problem.document);
      if (signal.aborted || problem.document?.status != null) throw problem;
      this.#tellPassing(problem);
      await askBatch(batch, (passing) => this.#tellPassing(passing), signal);
      return null;
    }
  }
}

async function suggestKinds(test, signal) {
  try {
    test.suggest((await ask("/kinds", { signal })).kinds);
  } catch {
    // Only suggestions: any kind can be typed.
  }
}

// What the page does without a click: follows the batch that the address names, or runs the test that a person has asked
// for by the address. A page that is loaded ahead, again or from the history waits.
export function show(page) {
  const test = new LoadTest(page);
  const fields = test.form.elements;
  for (const name of ["count", "kind"]) if (page.query.get(name)) fields[name].value = page.query.get(name);
  page.heard();
  suggestKinds(test, page.signal);
  const { runOnce, runBatch } = document.body.dataset;
  const isNew = performance.getEntriesByType("navigation")[0]?.type === "navigate" && !document.prerendering;
  if (page.query.get("batch")) test.follow(page.query.get("batch"));
  // What the address says goes to the gateway as it is, so that a bad count gets the gateway's own words.
  else if (!page.may(permissions.submit)) test.say("Nothing runs here.");
  else if (runOnce && isNew) test.run(page.query.get("count") || fields.count.value, page.query.get("kind") || fields.kind.value, runBatch, runOnce);
  else test.say("Ready. Press Run to start.");
}

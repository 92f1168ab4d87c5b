// What the page of the load test shows: the figures of the calls, and how their jobs stand. Each has its place from the
// beginning, so that nothing moves while it runs.
import { Plot } from "./plot.js";
import { LatencyBars } from "./latency_bars.js";
import { address, batchAddress } from "./api.js";
import { count, milliseconds } from "./format.js";
import { isTerminal, states } from "./config.js";
import { fill, h, keyed, say } from "./dom.js";
import { card, stateChip } from "./parts.js";

const QUANTILES = [["p50", "Median"], ["p95", "95 %"], ["p99", "99 %"], ["max", "Slowest"]];
const CALLS = { requested: "Requested", persisted: "Persisted", failed: "Failed" };
const SAMPLE_EVERY_S = 0.1;
const MOST_SAMPLES = 240;
const NOTHING = "–";

export const ended = (found) => Object.entries(found.states).reduce((sum, [state, jobs]) => sum + (isTerminal(state) ? jobs : 0), 0);

export class CallFigures {
  #calls = Object.fromEntries(Object.keys(CALLS).map((name) => [name, h("dd", { "data-calls": name })]));
  #duration = h("dd", { id: "duration" });
  #quantiles = Object.fromEntries(QUANTILES.map(([name]) => [name, h("dd", { id: name })]));
  #failures = h("p", { id: "failures", class: "trouble" });
  #bars = new LatencyBars();
  element = card("Calls",
    h("dl", { class: "figures pairwise" }, Object.entries(CALLS).map(([name, label]) => h("div", h("dt", label), this.#calls[name])),
      h("div", h("dt", "Duration"), this.#duration)),
    h("h3", "From the start of a call to its response 202"),
    h("dl", { class: "figures pairwise" }, QUANTILES.map(([name, label]) => h("div", h("dt", label), this.#quantiles[name]))),
    this.#failures, this.#bars.element);

  // The response of a load test; null clears the places.
  show(result) {
    for (const [name, place] of Object.entries(this.#calls)) say(place, result === null ? "" : count(result[name]));
    this.#calls.failed.classList.toggle("tone-bad", (result?.failed ?? 0) > 0);
    say(this.#duration, result === null ? "" : milliseconds(result.duration_ms));
    for (const [name, place] of Object.entries(this.#quantiles)) say(place, result === null ? "" : milliseconds(result.latency_ms[name]));
    const failures = Object.entries(result?.failures ?? {}).map(([reason, calls]) => `${reason}: ${count(calls)}`);
    say(this.#failures, failures.length === 0 ? "" : `Why calls failed: ${failures.join(", ")}`);
    this.#bars.show(result?.latency_histogram ?? null);
  }
}

// The states of the jobs over time: at most so many samples, twice as far apart whenever they are full.
export class Samples {
  #every = SAMPLE_EVERY_S;
  #taken;

  constructor(taken = []) {
    this.#taken = taken;
  }

  get all() {
    return this.#taken;
  }

  // `elapsed` in seconds. The last one of a test is always taken.
  take(elapsed, found, isLast = false) {
    const before = this.#taken.at(-1)?.[0] ?? -Infinity;
    if (elapsed <= before || (!isLast && elapsed - before < this.#every)) return;
    this.#taken.push([elapsed, ...states.map(({ name }) => found.states[name] ?? 0)]);
    if (this.#taken.length <= MOST_SAMPLES) return;
    this.#taken = this.#taken.filter((_, at) => at % 2 === 0);
    this.#every *= 2;
  }
}

export class JobFigures {
  #ended = h("label", { id: "ended", for: "ended-bar" }, "No job yet");
  #bar = h("progress", { id: "ended-bar", max: 1, value: 0 });
  #rows = h("tbody", { id: "states" });
  #elapsed = h("dd", { id: "elapsed" }, NOTHING);
  #batch = h("dd", NOTHING);
  #name = null;
  #plot = new Plot("Jobs by state over time", states.map(({ name, tone, is_terminal: isEnd }) => ({ label: name, tone, dash: !isEnd })), "count", { isElapsed: true });
  element = card("Jobs", h("p", this.#ended, this.#bar),
    h("table", { class: "bars" }, h("caption", { class: "unseen" }, "Jobs of this batch by state"),
      h("thead", { class: "unseen" }, h("tr", ["State", "Share", "Jobs"].map((head) => h("th", { scope: "col" }, head)))), this.#rows),
    h("dl", { class: "pairs" }, h("dt", "Elapsed"), this.#elapsed, h("dt", "Batch"), this.#batch),
    this.#plot.element);

  constructor() {
    this.clear();
  }

  clear() {
    this.#name = null;
    fill(this.#batch, NOTHING);
    say(this.#elapsed, NOTHING);
    this.show({ total: 0, states: {} });
    this.#plot.show([], states.map(() => []));
  }

  nameBatch(batch) {
    this.#name = batch;
    fill(this.#batch, h("code", { id: "batch-name" }, batch), h("div", h("a", { href: batchAddress(batch) }, "Its page"), " · ",
      h("a", { href: address("/jobs", { batch }) }, "All of its jobs")));
    fill(this.#rows);
    this.show({ total: 0, states: {} });
  }

  show(found) {
    const done = ended(found);
    say(this.#ended, found.total === 0 ? "No job yet" : `${count(done)} of ${count(found.total)} jobs have ended`);
    this.#bar.max = Math.max(found.total, 1);
    this.#bar.value = done;
    const names = [...new Set([...states.map(({ name }) => name), ...Object.keys(found.states)])];
    keyed(this.#rows, names, (name) => name, (name) => this.#row(name), (row, name) => {
      const jobs = found.states[name] ?? 0;
      row.classList.toggle("none", jobs === 0);
      row.querySelector(".fill").style.width = `${(100 * jobs) / Math.max(found.total, 1)}%`;
      say(row.lastChild, count(jobs));
    });
  }

  showElapsed(text) {
    say(this.#elapsed, text);
  }

  draw(samples) {
    this.#plot.show(samples.map(([elapsed]) => elapsed), states.map((_, at) => samples.map((sample) => sample[at + 1])));
  }

  #row(state) {
    const chip = stateChip(state);
    return h("tr", h("th", { scope: "row" }, this.#name === null ? chip : h("a", { href: address("/jobs", { batch: this.#name, state }) }, chip)),
      h("td", { "aria-hidden": "true" }, h("div", { class: "track" }, h("div", { class: `fill tone-${states.find(({ name }) => name === state)?.tone ?? "off"}` }))),
      h("td", { class: "number" }));
  }
}

// One kind: its counts, how long its jobs wait and run, who serves it, its options; pause, resume, limit, send one.
import { address, ask, jobAddress } from "./api.js";
import { failedState, permissions, queuedState, runningState } from "./config.js";
import { fill, h, keyed, renew, say } from "./dom.js";
import { count, duration, shortId, time } from "./format.js";
import { Histogram } from "./histogram.js";
import { limitButtons, pauseButton } from "./kind_acts.js";
import { limitSentence, pausedWords } from "./kind_table.js";
import { card, json, mark, shape, skeleton } from "./parts.js";
import { Refresh } from "./refresh.js";
import { sendForm } from "./send_form.js";
import { failureShare, slotsOf } from "./counts.js";
import { SeriesPlots } from "./series.js";
import { WindowPicker } from "./window.js";

const NOW_EVERY_MS = 3000;
const SERIES_EVERY_MS = 10_000;
const QUEUED = "Queued", OLDEST = "Oldest queued", RUNNING = "Running", FAILED = "Failed", SHARE = "Failure share", SLOTS = "Workers' busy slots";

const OPTIONS = [
  ["Timeout of an attempt", "A handler that runs longer is stopped, and the attempt counts as a failure."],
  ["Failed attempts until the end", "The job ends as failed after this number of failed attempts. An operator's retry starts the count again."],
  ["Back-off", "The pause after a failed attempt: a random time up to this limit, which doubles with each failure."],
  ["Lane", "The queue of RabbitMQ for these jobs. Kinds that share a lane can't be paused."],
  ["Bundle", "How many jobs one message brings to a worker. Small bundles spread long jobs better; large ones are faster for short jobs."],
  ["Version", "Of the handler, as its author wrote it."],
  ["Last registered", "When a worker that serves this kind started last."],
];

function optionsOf(kind) {
  const upTo = (value, limit) => (limit ? `${value}; a request may ask for ${limit}` : value);
  const values = [
    upTo(duration(kind.timeout_s), kind.timeout_limit_s && duration(kind.timeout_limit_s)),
    upTo(count(kind.max_attempts), kind.max_attempts_limit && count(kind.max_attempts_limit)),
    `up to ${duration(kind.backoff_base_s)}, doubled each time, at most ${duration(kind.backoff_cap_s)}`,
    h("code", kind.lane), `up to ${count(kind.bundle)}`, kind.version, kind.seen_at === null ? "never" : time(kind.seen_at),
  ];
  return [h("dl", { class: "pairs" }, OPTIONS.map(([term, meaning], at) => [h("dt", { title: meaning }, term), h("dd", values[at])])),
    h("details", h("summary", "What the options mean"), h("dl", { class: "meanings" }, OPTIONS.map(([term, meaning]) => [h("dt", term), h("dd", meaning)])),
      h("p", { class: "faint small" }, "The handler sets them. A request may set its own timeout, and how many attempts may fail."))];
}

function schemasOf({ payload_schemas: schemas, is_payload_checked: isChecked }) {
  if (schemas.length === 0) return null;
  const several = schemas.length > 1;
  const meaning = !isChecked ? "Payloads are not checked now: a worker serves this kind without a schema."
    : several ? "Workers serve several versions. A payload that one of them accepts is accepted; any other is refused."
      : "A payload that differs from it is refused.";
  return [h("h3", "Payload (JSON Schema)"), h("p", { class: "small" }, meaning),
    schemas.map(({ version, schema }) => [several ? h("h4", `Version ${version}`) : null, json(schema)])];
}

class KindPage {
  #page;
  #name;
  #state = h("p", { class: "verdict" });
  #button = h("div");
  #limit = h("p", { class: "small" });
  #limitButtons = h("div", { class: "row" });
  #trouble = h("div");
  #figures = new Map([QUEUED, OLDEST, RUNNING, FAILED, SHARE, SLOTS].map((term) => [term, h("dd", "–")]));
  #workers = h("ul", { class: "lines" });
  #options = h("div");
  #schema = h("div");
  #past = h("ul", { class: "lines" });
  #plots = new SeriesPlots("Run time of attempts", "run");
  #wait = new Histogram("Wait until the start", "attempt");
  #run = new Histogram("Run time", "attempt");
  #picker;
  #series;
  #now;
  #newest = { now: null, series: null };
  #content;

  constructor(page) {
    this.#page = page;
    this.#name = page.parameters.kind;
    this.#picker = new WindowPicker(page, () => this.#series.now());
    const list = (text, parameters) => h("a", { href: address("/jobs", { kind: this.#name, ...parameters }) }, text);
    this.#content = [
      h("section", { class: "card", "aria-label": "State of the kind" }, h("div", { class: "head" }, this.#state, this.#button),
        h("div", { class: "head" }, this.#limit, this.#limitButtons), this.#trouble,
        h("dl", { class: "figures" }, [...this.#figures].map(([term, dd]) => h("div", h("dt", term), dd))),
        h("p", { class: "parts" }, list("Queued jobs", { state: queuedState }), list("Running jobs", { state: runningState }), list("Failed jobs", { state: failedState }),
          h("a", { href: address("/attention", { kind: this.#name }) }, "What needs attention"), list("All jobs", {}))),
      h("section", { class: "card", "aria-labelledby": "over-time" }, h("div", { class: "head" }, h("h2", { id: "over-time" }, "Over time"), this.#picker.element),
        h("div", { class: "grid" }, this.#plots.elements), h("div", { class: "grid" }, this.#wait.element, this.#run.element)),
      h("div", { class: "grid" }, h("div", page.isOfDefaultTenant ? card("Workers that serve it", this.#workers) : null,
        page.may(permissions.submit) ? sendForm(page, this.#name) : null),
      h("div", card("Options", this.#options, this.#schema), card("Past pauses", this.#past)))];
  }

  // As on the overview: all of it appears at once.
  #arrived(part, value) {
    this.#newest[part] = value;
    const { now, series } = this.#newest;
    if (now === null || series === null) return;
    const isFirst = this.#content !== null;
    if (isFirst) fill(this.#page.main, this.#content);
    this.#content = null;
    if (isFirst || part === "now") this.#showNow(now);
    if (isFirst || part === "series") this.#showSeries(series);
  }

  begin() {
    const name = encodeURIComponent(this.#name);
    this.#now = new Refresh(this.#page, {
      everyMs: NOW_EVERY_MS, load: (signal) => ask(`/kinds/${name}`, { signal }), show: (kind) => this.#arrived("now", kind),
    });
    this.#series = new Refresh(this.#page, {
      everyMs: SERIES_EVERY_MS,
      load: (signal) => ask(address("/timeseries", { window: this.#picker.value, kind: this.#name }), { signal }),
      show: (series) => this.#arrived("series", series),
    });
  }

  #showSeries(series) {
    if (series.window !== this.#picker.value) return;
    this.#plots.show(series);
    this.#wait.show(series.wait);
    this.#run.show(series.run);
    say(this.#figures.get(SHARE), failureShare(sums(series.points)));
  }

  #showNow(kind) {
    this.#showState(kind);
    const { backlog } = kind;
    const of = (state) => (backlog === null ? "–" : count(backlog.states[state] ?? 0));
    for (const [term, state] of [[QUEUED, queuedState], [RUNNING, runningState], [FAILED, failedState]]) say(this.#figures.get(term), of(state));
    renew(this.#figures.get(OLDEST), backlog?.oldest_queued_at ?? null, () => (backlog?.oldest_queued_at ? time(backlog.oldest_queued_at) : "none"));
    const workers = kind.workers ?? [];
    const { busy, slots } = slotsOf(workers);
    say(this.#figures.get(SLOTS), kind.workers === null ? "–" : `${count(busy)} of ${count(slots)}`);
    keyed(this.#workers, workers, (one) => JSON.stringify([one.instance, one.running, one.running_jobs]), workerLine);
    if (workers.length === 0) fill(this.#workers, h("li", { class: "faint" }, "No worker serves this kind now. Its jobs wait."));
    renew(this.#options, [kind.version, kind.timeout_s, kind.max_attempts, kind.seen_at], () => optionsOf(kind));
    renew(this.#schema, [kind.payload_schemas, kind.is_payload_checked], () => schemasOf(kind));
    const past = [...kind.past_pauses].reverse();
    keyed(this.#past, past, ({ since }) => since, ({ since, until }) => h("li", time(since), ", for ", duration((Date.parse(until) - Date.parse(since)) / 1000)));
    if (past.length === 0) fill(this.#past, h("li", { class: "faint" }, "It was never paused."));
  }

  #showState(kind) {
    const { paused } = kind;
    const seen = [paused, kind.is_served];
    renew(this.#state, seen, () => (paused !== null
      ? [h("span", { class: "tone-later chip" }, shape("bar")), h("span", pausedWords(kind), ", ", time(paused.since))]
      : kind.is_served ? mark("good", "check", "Open: workers start its jobs.") : mark("bad", "cross", "No worker serves it: its jobs wait.")));
    renew(this.#button, seen, () => pauseButton(this.#page, kind, this.#trouble, () => this.#now.now()));
    const { limit, limit_use: use } = kind;
    renew(this.#limit, [limit, use], () => (limit === null ? "No limit on its running jobs."
      : [limitSentence(kind), ", ", time(limit.since), use === null ? "." : `. ${count(use.running)} run, ${count(use.held)} wait for a place.`]));
    renew(this.#limitButtons, limit, () => limitButtons(this.#page, kind, this.#trouble, () => this.#now.now()));
    this.#page.setTitle(`Kind ${this.#name}`, paused === null ? this.#name : `${this.#name} (paused)`);
  }
}

const sums = (points) => Object.fromEntries(Object.keys(points[0]).map((name) => [name, points.reduce((total, point) => total + (Number(point[name]) || 0), 0)]));

const workerLine = (worker) => h("li", h("div", { class: "side" }, h("a", { href: "/workers" }, worker.id), h("span", `${count(worker.running)} of ${count(worker.slots)} slots busy`)),
  worker.running_jobs.slice(0, 3).map((job) => h("div", { class: "faint" }, "runs ", h("a", { href: jobAddress(job.id) }, shortId(job.id)), ", started ", time(job.started_at))));

export function show(page) {
  page.setTitle(`Kind ${page.parameters.kind}`, page.parameters.kind);
  fill(page.main, skeleton(8));
  new KindPage(page).begin();
}

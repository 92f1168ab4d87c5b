// One job: why it is where it is, what happened to it, what it holds, and what a person can do about it.
import { NOT_FOUND, ask, jobAddress, orRefusal } from "./api.js";
import { absolute, duration } from "./format.js";
import { card, emptyPlace, problemBox, skeleton, stateChip, updateChip } from "./parts.js";
import { commandsOf, factsOf } from "./job_facts.js";
import { errorsOf, payloadOf, rawOf, resultOf } from "./job_bodies.js";
import { fill, h, renew, say } from "./dom.js";
import { failedState, isTerminal, permissions } from "./config.js";
import { Calls, waitWords } from "./calls.js";
import { JobActs } from "./job_acts.js";
import { JobCallback } from "./job_callback.js";
import { actButton } from "./act.js";
import { LiveJobs } from "./live.js";
import { parseExactly } from "./json_text.js";
import { signalsOf } from "./job_signals.js";
import { Refresh } from "./refresh.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";

const EVERY_MS = 3000;
const TICK_MS = 1000;
// As the API writes instants into its sentences.
const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;

// Payload, result and progress with their numbers as they were sent; all else as JavaScript reads it.
function parseJob(text) {
  const job = JSON.parse(text);
  const { payload, result, progress } = parseExactly(text);
  if (progress) job.progress = { ...job.progress, value: progress.value };
  return { ...job, payload, result };
}

class JobView {
  #page;
  #id;
  #job = null;
  #live;
  #refresh;
  // Whether the job moved since it was read.
  #isStale = true;
  #chip = stateChip("");
  #hint = h("p", { class: "hint", role: "status" });
  #progress = h("div", { class: "progress" });
  #bar = h("progress", { "aria-label": "Progress" });
  #message = h("p", { class: "small" });
  #wait = h("p", { class: "small", hidden: true });
  #calls = new Calls();
  #earlier = h("div", { class: "row" });
  #warned = h("p", { class: "trouble", hidden: true });
  #signals = h("div");
  #signalCard = card("Signals", this.#signals);
  #timeline = new Timeline();
  #facts = h("div", skeleton());
  #commands = h("div");
  #acts;
  #tabs;
  #callback;
  #drawnRev = null;

  constructor(page) {
    this.#page = page;
    this.#id = page.parameters.id;
    this.#acts = new JobActs(page, () => this.#job, () => this.#ask());
    this.#callback = new JobCallback(page, () => this.#ask());
    this.#live = new LiveJobs(page, (events) => this.#take(events.get(this.#id)));
  }

  begin() {
    this.#refresh = new Refresh(this.#page, { everyMs: EVERY_MS, load: (signal) => orRefusal(this.#load(signal)), show: (found) => this.#show(found) });
    this.#live.follow({ ids: [this.#id] });
    const tick = setInterval(() => { this.#timeline.tick(); this.#tickWait(); }, TICK_MS);
    this.#page.signal.addEventListener("abort", () => clearInterval(tick));
  }

  // An ended job is read again where the feed says that it moved, or can't say.
  async #load(signal) {
    if (!this.#isStale && this.#live.isLive && isTerminal(this.#job.state) && this.#callback.isSettled) return { job: this.#job };
    this.#isStale = false;
    try {
      const job = await ask(jobAddress(this.#id), { signal, parse: parseJob });
      await Promise.all([this.#calls.load(job, signal), this.#callback.load(job, signal)]);
      return { job };
    } catch (problem) {
      this.#isStale = true;
      throw problem;
    }
  }

  #ask() {
    this.#isStale = true;
    this.#refresh.now();
  }

  #take(event) {
    if (event === undefined || this.#job === null) return;
    if (event.rev > this.#job.rev) this.#ask();
    else if (event.rev === this.#job.rev && event.progress) this.#showProgress(event.progress);
  }

  #show({ job, problem }) {
    if (problem) {
      this.#refused(problem);
      return;
    }
    const isFirst = this.#job === null;
    this.#job = job;
    if (isFirst) this.#build();
    this.#page.setTitle(`${job.kind}, job ${this.#id}`, `${job.state}: ${job.kind}`);
    updateChip(this.#chip, job.state);
    say(this.#hint, this.#sentence(job));
    this.#showProgress(isTerminal(job.state) ? null : job.progress);
    this.#acts.show(job);
    this.#timeline.show(job, this.#calls);
    this.#tickWait();
    this.#showCalls(job);
    this.#callback.show(job);
    renew(this.#facts, [job.rev, job.edited_to], () => factsOf(job));
    renew(this.#commands, [job.erased_at, job.state, job.waits, Boolean(job.steps)], () => commandsOf(job, this.#page.curl));
    this.#tabs.label("errors", job.attempts.length === 0 ? "Errors" : `Errors (${job.attempts.length})`);
    // What a person reads is left alone while it stays the same.
    if (this.#drawnRev !== job.rev && !isFirst) this.#tabs.redraw();
    this.#drawnRev = job.rev;
  }

  #build() {
    const mayOperate = this.#page.may(permissions.operate);
    this.#tabs = new Tabs(this.#page, "Data of the job", [
      { name: "payload", label: "Payload", show: () => payloadOf(this.#job) },
      { name: "result", label: "Result", show: () => resultOf(this.#job) },
      { name: "errors", label: "Errors", show: () => errorsOf(this.#job, mayOperate) },
      { name: "raw", label: "Raw JSON", show: () => rawOf(this.#job) },
    ], this.#job.state === failedState ? "errors" : "payload");
    const timeline = card("Timeline", this.#warned, this.#earlier, this.#timeline.element);
    timeline.addEventListener("click", (event) => {
      const link = event.target.closest("[data-tab]");
      if (link === null) return;
      event.preventDefault();
      this.#tabs.choose(link.dataset.tab);
      this.#tabs.element.scrollIntoView({ block: "nearest" });
      this.#tabs.element.querySelector("[aria-selected=true]").focus();
    });
    fill(this.#page.main,
      h("section", { class: "card", "aria-label": "State" }, h("p", { class: "state" }, this.#chip), this.#hint, this.#wait, this.#progress, this.#acts.element),
      timeline, this.#signalCard, this.#callback.element, this.#tabs.element, card("About this job", this.#facts, this.#commands));
  }

  // What the durable calls have to say beside their rows, and the signals.
  #showCalls(job) {
    const { warned } = job.steps ?? {};
    this.#warned.hidden = warned === undefined;
    say(this.#warned, warned === undefined ? "" : `The job nears a limit: ${warned}.`);
    renew(this.#earlier, [this.#calls.hasEarlier, this.#calls.isCut], () => [
      this.#calls.hasEarlier && actButton("Show earlier durable calls", () => this.#showEarlier(), { class: "quiet small" }),
      this.#calls.isCut && h("p", { class: "faint small" }, "Earlier durable calls are left out. The command below lists all."),
    ]);
    const { signals } = this.#calls;
    this.#signalCard.hidden = signals === null || signals.received === 0;
    if (signals !== null) renew(this.#signals, [signals, job.waits], () => signalsOf(signals, job.waits));
  }

  async #showEarlier() {
    try {
      await this.#calls.loadEarlier(this.#job, this.#page.signal);
      this.#show({ job: this.#job });
    } catch (problem) {
      if (!this.#page.signal.aborted) renew(this.#earlier, String(problem), () => problemBox(problem));
    }
  }

  #tickWait() {
    const waits = this.#job?.waits;
    this.#wait.hidden = !waits;
    if (waits) say(this.#wait, waitWords(waits));
  }

  #sentence(job) {
    if (job.hint) return `${job.hint[0].toUpperCase()}${job.hint.slice(1)}.`.replace(INSTANT, absolute);
    if (job.edited_to) return "Another job replaces it.";
    if (job.erased_at) return `Erased at ${absolute(job.erased_at)}.`;
    if (job.error) return `${job.error.type}: ${job.error.message}`;
    return `Took ${duration((Date.parse(job.finished_at) - Date.parse(job.accepted_at)) / 1000)} from its request to its end.`;
  }

  #showProgress(progress) {
    this.#progress.hidden = !progress;
    if (!progress) return;
    const { value, message } = progress;
    const number = typeof value === "number" ? value : Number(value?.rawJSON ?? NaN);
    if (number >= 0 && number <= 1) this.#bar.value = number;
    else this.#bar.removeAttribute("value");
    const shown = Number.isNaN(number) ? JSON.stringify(value) : number >= 0 && number <= 1 ? `${Math.round(number * 100)} %` : String(number);
    say(this.#message, [shown, message].filter(Boolean).join(" · "));
    if (this.#progress.childElementCount === 0) fill(this.#progress, this.#bar, this.#message);
  }

  #refused(problem) {
    this.#page.setTitle("Job");
    fill(this.#page.main, problem.document.status === NOT_FOUND
      ? emptyPlace(`There is no job ${this.#id}.`, "It may be of another tenant, or older than its retention.", h("a", { href: "/jobs" }, "All jobs"))
      : problemBox(problem));
    this.#job = null;
  }
}

export function show(page) {
  page.setTitle("Job");
  fill(page.main, skeleton(6));
  new JobView(page).begin();
}

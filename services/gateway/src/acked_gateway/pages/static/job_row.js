// One job as a row of a list. It stays where it is and changes its own cells.
import { copyButton, stateChip, updateChip } from "./parts.js";
import { awaited } from "./calls.js";
import { duration, shortId, time } from "./format.js";
import { failedState, isTerminal } from "./config.js";
import { h, say } from "./dom.js";
import { jobAddress, kindAddress } from "./api.js";

export const HEADS = ["Job", "Kind", "State", "Accepted", "Run time", "Attempts", "Error"];
const AFTER_ERROR = new Set([failedState, "backing_off"]);

const cell = (label, ...children) => h("td", { "data-label": label }, children);

export class JobRow {
  #chip;
  #runTime = h("span", { class: "number" });
  #attempts = h("span", { class: "number" });
  #error;
  #waits = h("div", { class: "faint small one-line" });
  job;

  // `choose` gets the row when its box changes; null where nothing can be done with chosen jobs.
  constructor(job, choose) {
    this.job = job;
    const href = jobAddress(job.id);
    this.#chip = stateChip(job.state);
    this.#error = h("a", { href, class: "one-line" });
    this.box = choose === null ? null : h("input", { type: "checkbox", "aria-label": `Choose ${job.id}`, on: { change: () => choose(this) } });
    this.element = h("tr", { "data-row": "" },
      choose !== null && h("td", { class: "box" }, this.box),
      cell("Job", h("a", { href, title: job.id, "data-open": "" }, h("code", shortId(job.id))), " ", copyButton(job.id, "Copy", `Copy ${job.id}`)),
      cell("Kind", h("a", { href: kindAddress(job.kind), class: "one-line" }, job.kind)), cell("State", this.#chip, this.#waits),
      cell("Accepted", time(job.accepted_at)), cell("Run time", this.#runTime), cell("Attempts", this.#attempts), cell("Error", this.#error));
    this.#draw();
  }

  // A newer description of the same job, from a list or a status.
  update({ rev, state, reason, attempt, started_at, finished_at, error, waits }) {
    if (rev < this.job.rev) return;
    this.job = { ...this.job, rev, state, reason, attempt, started_at, finished_at, error, waits };
    this.#draw();
  }

  // An event of `LiveJobs`. Returns whether the job has more to show than events contain, such as an error.
  take(event) {
    if (event.rev <= this.job.rev) return false;
    const isEnd = isTerminal(event.state);
    const hasError = AFTER_ERROR.has(event.state) || AFTER_ERROR.has(event.reason);
    const isIncomplete = hasError || event.rev - this.job.rev > event.transitions;
    const { rev, state, reason, attempt } = event;
    this.job = {
      ...this.job, rev, state, reason, attempt, started_at: event.started_at ?? this.job.started_at,
      finished_at: isEnd ? event.at : null, waits: event.waits, error: isEnd && !hasError ? null : this.job.error,
    };
    this.#draw();
    return isIncomplete;
  }

  // Goes on with the time of a job that runs.
  tick() {
    const { job } = this;
    const isStarted = Boolean(job.started_at) && (job.finished_at || !isTerminal(job.state));
    if (!isStarted) say(this.#runTime, "–");
    else if (job.finished_at) say(this.#runTime, duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000));
    else if (job.reason === "claimed" || job.reason === "cancel_requested") say(this.#runTime, duration(Math.max(0, Math.floor((Date.now() - Date.parse(job.started_at)) / 1000))));
    else say(this.#runTime, "–");
  }

  #draw() {
    const { job } = this;
    updateChip(this.#chip, job.state);
    say(this.#attempts, job.attempt);
    say(this.#waits, job.waits ? awaited(job.waits) : "");
    this.#waits.hidden = !job.waits;
    const text = job.error ? `${job.error.type}: ${job.error.message}`.replace(/\s+/g, " ") : "";
    say(this.#error, text);
    this.#error.title = text;
    this.#error.hidden = text === "";
    this.tick();
  }
}

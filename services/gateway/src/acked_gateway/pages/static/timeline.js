// What happened to a job, as bars on one axis of time: each wait, attempt and back-off, and the acts of people.
// The bars are drawn beside the rows of a table, which says the same in words.
import { bulkAddress } from "./api.js";
import { absolute, duration, time } from "./format.js";
import { rowOf } from "./calls.js";
import { fill, h, svg } from "./dom.js";
import { isTerminal, lookOf } from "./config.js";
import { table } from "./parts.js";

const WIDTH = 400;
const LEAST = 3;
const BULK = "bulk:";

// What begins with a transition, by its reason. An attempt begins with `claimed`; each other entry is a wait or an end.
const WORDS = {
  accepted: "Accepted", due: "The delay is over", drained: "Given back by a worker that drains", not_started: "Given back before it started",
  lease_expired: "Its worker was lost", crashed: "Its process crashed", poison: "Crashed too often", expired: "Expired before a worker took it",
  permanent_error: "Failed, and is not tried again", attempts_exhausted: "Out of attempts", completed: "Done",
  woken: "Its wait is over", signalled: "A signal came",
};
const ACTS = {
  cancel_requested: "Cancel requested", cancelled: "Cancelled", retried: "Retried", resolved: "Resolved", run_now: "Run at once",
  edited: "Edited: replaced by another job", erased: "Payload, result and errors erased",
};
const OUTCOMES = { failed: "failed", timed_out: "timed out", crashed: "crashed", lost: "was lost with its worker" };
const ENDS = {
  completed: "returned a result", cancelled: "was cancelled", drained: "was stopped by a drain", not_started: "did not start", parked: "parked",
};

const millis = (at) => Date.parse(at);

function waitWords(entry) {
  if (entry.reason === "backing_off") return "Backs off before the next attempt";
  if (entry.reason === "parked") return "Parked: waits without a worker";
  return lookOf(entry.state).tone === "later" ? "Waits until it is due" : "Waits for a worker";
}

// The steps of a job, oldest first: `{key, label, tone, from, to, by?, error?}`; `to` is null while it lasts. Pure.
function stepsOf(job) {
  const attempts = new Map(job.attempts.map((one) => [one.attempt, one]));
  const steps = [];
  const point = (entry, label, more = {}) => steps.push({ key: `act-${entry.rev}`, label, tone: lookOf(entry.state).tone, from: entry.at, to: entry.at, ...more });
  job.history.forEach((entry, at) => {
    const before = job.history[at - 1];
    if (before !== undefined && entry.rev > before.rev + 1) {
      steps.push({ key: `gap-${entry.rev}`, label: `${entry.rev - before.rev - 1} transitions are not kept`, tone: "off", from: before.at, to: entry.at });
    }
    const { by } = entry;
    if (ACTS[entry.reason] !== undefined) point(entry, ACTS[entry.reason], { by });
    else if (isTerminal(entry.state) || ["lease_expired", "crashed", "drained", "not_started", "poison"].includes(entry.reason)) {
      if (entry.reason !== "completed") point(entry, WORDS[entry.reason] ?? entry.reason, { by });
    }
    // A cancel is asked for while the attempt goes on.
    if (isTerminal(entry.state) || entry.reason === "cancel_requested") return;
    const end = job.history.slice(at + 1).find(({ reason }) => reason !== "cancel_requested");
    const to = end?.at ?? null;
    if (entry.reason !== "claimed") {
      steps.push({ key: `wait-${entry.rev}`, label: waitWords(entry), tone: lookOf(entry.state).tone, from: entry.at, to });
      return;
    }
    const ended = attempts.get(entry.attempt);
    const worker = ended?.worker ?? (to === null ? job.worker : undefined);
    const outcome = ended === undefined ? ENDS[end?.reason] : OUTCOMES[ended.outcome] ?? ended.outcome;
    steps.push({
      key: `attempt-${entry.rev}`, to, from: entry.at, error: ended?.error,
      label: `Attempt ${entry.attempt}${worker ? ` on ${worker}` : ""} ${to === null ? "runs" : outcome ?? "ended"}`,
      tone: to === null ? lookOf(entry.state).tone : ended !== undefined ? "bad" : end.reason === "completed" ? "good" : "off",
    });
  });
  return steps;
}

function byWords({ client, via }) {
  if (!via.startsWith(BULK)) return h("span", `by ${client}`);
  return h("span", `by ${client}, with a `, h("a", { href: bulkAddress(via.slice(BULK.length)) }, "bulk action"));
}

function bar(step, from, to) {
  const scale = WIDTH / Math.max(1, to - from);
  const begin = Math.min(WIDTH - LEAST, (millis(step.from) - from) * scale);
  const end = (step.to === null ? to : millis(step.to)) - from;
  const isPoint = step.from === step.to;
  return svg("svg", { viewBox: `0 0 ${WIDTH} 12`, preserveAspectRatio: "none", class: `span tone-${step.tone}`, "aria-hidden": "true" },
    svg("rect", { x: begin, y: isPoint ? 0 : 3, width: isPoint ? LEAST : Math.max(LEAST, end * scale - begin), height: isPoint ? 12 : 6, rx: isPoint ? 0 : 2, fill: "currentColor" }));
}

// The first instant as such, the others by their distance from it.
function began(at, from) {
  if (millis(at) === from) return time(at);
  return h("time", { datetime: at, title: absolute(at) }, `+${duration((millis(at) - from) / 1000)}`);
}

export class Timeline {
  #body = h("tbody");
  #job = null;
  #shown = "";
  #lasting = [];
  #calls = null;

  constructor() {
    this.element = table("What happened, oldest first", ["Event", h("span", { class: "unseen" }, "When it was, as a bar"), "Began", "Took"], this.#body, "list timeline");
  }

  // `calls` are the durable calls that are known.
  show(job, calls) {
    this.#job = job;
    this.#calls = calls;
    const shown = JSON.stringify([job.history, job.attempts.length, job.worker, calls.all]);
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#draw();
    }
    this.tick();
  }

  // Goes on with the steps that last.
  tick() {
    for (const { step, took } of this.#lasting) took.textContent = duration(Math.max(0, Math.floor((Date.now() - millis(step.from)) / 1000)));
  }

  #draw() {
    const calls = this.#calls.all.map((call) => rowOf(call, this.#job));
    // A call stands behind the attempt that made it.
    const steps = [...stepsOf(this.#job), ...calls].sort((one, other) => millis(one.from) - millis(other.from));
    const from = millis(this.#job.accepted_at);
    const to = steps.some((step) => step.to === null) ? Date.now() : Math.max(from + 1, ...steps.map((step) => millis(step.to)));
    this.#lasting = [];
    fill(this.#body, steps.map((step) => {
      const took = h("td", { class: "number", "data-label": "Took" }, step.to === null ? "" : typeof step.took === "number" ? duration(step.took) : step.from === step.to ? "" : duration((millis(step.to) - millis(step.from)) / 1000));
      if (step.to === null) this.#lasting.push({ step, took });
      return h("tr", { class: step.isCall ? "call" : null }, h("th", { scope: "row" }, h("span", { class: `tone-${step.tone} strong` }, step.label), " ", step.by && byWords(step.by),
        step.notes?.length > 0 && h("span", { class: "faint" }, step.notes.join(", ")),
        step.isCall && step.error && h("div", { class: "small message" }, `${step.error.type}: ${step.error.message}`),
        !step.isCall && step.error && h("div", { class: "small" }, h("a", { href: "#tab=errors", "data-tab": "errors" }, `${step.error.type}: ${step.error.message}`))),
        h("td", { class: "bars" }, bar(step, from, to)), h("td", { "data-label": "Began" }, began(step.from, from)), took);
    }));
  }
}

// The durable calls and the signals of a job: asks for the newest ones, and says what each of them did.
import { address, ask, jobAddress } from "./api.js";
import { absolute, duration } from "./format.js";
import { isTerminal } from "./config.js";

const PAGE = 100;
const MOST = 1000;

const millis = (at) => Date.parse(at);
const instant = (ms) => new Date(ms).toISOString();

// The calls that are shown, by their numbers: the newest, and as many earlier ones as the person asked for.
export class Calls {
  #known = new Map();
  #token = "";
  #seen = "";
  signals = null;

  get all() {
    return [...this.#known.values()].sort((one, other) => one.seq - other.seq);
  }

  get hasEarlier() {
    return this.#token !== "" && this.#known.size < MOST;
  }

  // Whether earlier calls are left out for good.
  get isCut() {
    return this.#token !== "" && !this.hasEarlier;
  }

  // Asks for what is new. `job.steps` says whether something is; a call that has begun may end without that.
  async load(job, signal) {
    if (!job.steps) return;
    const seen = JSON.stringify([job.rev, job.steps]);
    const mayEnd = !isTerminal(job.state) && this.all.some(({ state }) => state === "open");
    if (seen === this.#seen && !mayEnd) return;
    const [listed, signals] = await Promise.all([this.#page(job, "", signal), ask(`${jobAddress(job.id)}/signals`, { signal })]);
    // Another run drops what failed, and calls between this page and what is known may be missing: then it begins anew.
    const newest = Math.max(0, ...this.#known.keys());
    const hasGap = listed.next_page_token !== "" && listed.steps.at(-1).seq > newest + 1;
    if (hasGap || listed.next_page_token === "" || job.steps.kept < this.#known.size) {
      this.#known.clear();
      this.#token = listed.next_page_token;
    }
    this.#keep(listed.steps);
    this.signals = signals;
    this.#seen = seen;
  }

  async loadEarlier(job, signal) {
    const listed = await this.#page(job, this.#token, signal);
    this.#token = listed.next_page_token;
    this.#keep(listed.steps);
  }

  #page(job, token, signal) {
    return ask(address(`${jobAddress(job.id)}/steps`, { order: "newest", page_size: PAGE, page_token: token }), { signal });
  }

  #keep(steps) {
    for (const step of steps) this.#known.set(step.seq, step);
  }
}

const callName = ({ name, key }) => (key === null || key === undefined ? name : `${name}[${JSON.stringify(key)}]`);

// By the word of the API: what is said of a call with an outcome, of one that has none yet, and of one that ended otherwise.
const WORDS = {
  step: { kept: "Step", open: "Began, with an unknown outcome: step" }, try: { kept: "Delay before another try of" },
  checkpoint: { kept: "Checkpoint of" }, sleep: { kept: "Sleep" },
  wait: { kept: "Took signal", open: "Waits for signal", ended: "Wait for signal" },
  first: { kept: "Decided", open: "Waits at", ended: "Wait at" }, now: { kept: "Recorded the time as" }, note: { kept: "Recorded the value" },
};
const OUTCOMES = { failed: "failed", timed_out: "ended without one", cancelled: "was cancelled by the handler" };
const TONES = { open: "later", kept: "good", failed: "bad", timed_out: "off", cancelled: "off" };
const DELAYS = ["sleep", "try"];

function labelOf(call) {
  const words = WORDS[call.call] ?? { kept: call.call };
  // The error of a delay is that of the try before it.
  const outcome = call.call === "try" ? undefined : OUTCOMES[call.state];
  const begin = call.state === "open" ? words.open : outcome === undefined ? words.kept : words.ended;
  return [begin ?? words.kept, callName(call), outcome].filter(Boolean).join(" ");
}

// A call as a row of the timeline: `{key, label, tone, from, to, took, error, notes}`; `to` is null while it lasts. Pure.
export function rowOf(call, job, now = Date.now()) {
  const { at, state } = call;
  const hasEnded = isTerminal(job.state);
  const isStep = call.call === "step";
  const isDelay = DELAYS.includes(call.call);
  const until = isDelay ? call.ended_early_at ?? call.due_at : null;
  const isLasting = !hasEnded && (state === "open" || (until !== null && millis(until) > now));
  const end = until === null ? at : hasEnded && millis(until) > millis(job.finished_at) ? job.finished_at : until;
  return {
    key: `call-${call.seq}`, label: labelOf(call), isCall: true, error: call.error,
    from: isStep ? instant(millis(at) - call.took_s * 1000) : at, to: isLasting ? null : end,
    tone: isLasting ? "later" : isDelay ? "off" : TONES[state] ?? "off", took: isStep && state !== "open" ? call.took_s : null,
    notes: [
      isStep && call.tries > 1 && `${call.tries} tries`,
      call.ended_early_at && `ended early by an operator at ${absolute(call.ended_early_at)}`,
      isLasting && call.due_at && `until ${absolute(call.due_at)}`,
    ].filter(Boolean),
  };
}

// "Ends in 12 d 3 h.", for the wait of a parked job.
export function waitWords({ until_at: until }, now = Date.now()) {
  if (until === null) return "Only a signal ends this wait.";
  const left = (millis(until) - now) / 1000;
  return left > 0 ? `Ends in ${duration(left < 60 ? Math.ceil(left) : left)}.` : "It has ended: the job is queued within seconds.";
}

// "signal paid", "sleep cool-off": what a parked job waits for, in short.
export function awaited({ call, name, signals }) {
  if (signals.length === 0) return `${call} ${name}`;
  return signals.includes("*") ? "any signal" : `signal ${signals.slice(0, 3).join(" or ")}${signals.length > 3 ? " …" : ""}`;
}

// Bulk actions in words: what each does, which jobs a filter means, how far one is.
import { address } from "./api.js";
import { lookOf } from "./config.js";
import { absolute, count, counted } from "./format.js";
import { mark } from "./parts.js";

// By the word of the API; `ask` names the act with its jobs.
export const VERBS = {
  retry: {
    name: "Retry", ask: (jobs) => `Retry ${jobs}`,
    effect: "Each job starts a new run, and may use all of its attempts again.",
  },
  resolve: {
    name: "Resolve", ask: (jobs) => `Resolve ${jobs}`,
    effect: "Each job ends with the outcome below. No handler runs.",
  },
  cancel: {
    name: "Cancel", ask: (jobs) => `Cancel ${jobs}`, isDangerous: true,
    effect: "Waiting jobs end at once. Workers stop running ones.",
  },
  run_now: {
    name: "Run now", ask: (jobs) => `Run ${jobs} now`,
    effect: "The delay or the back-off of each job ends, and the job is queued at once.",
  },
  erase: {
    name: "Erase", ask: (jobs) => `Erase ${jobs}`, isDangerous: true,
    effect: "Payload, result, errors and attempts of each job are removed permanently.",
  },
};

export const jobsCounted = (value, isExact) => `${counted(value, isExact)} ${value === 1 && isExact ? "job" : "jobs"}`;

// "Retry of 100 jobs", of an action or of its preview.
export const nameOf = (action) => `${VERBS[action.action]?.name ?? action.action} of ${jobsCounted(action.matched, action.matched_is_exact)}`;

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// An instant, or a duration back from now.
const since = (value) => (Number.isNaN(Date.parse(value)) ? `in the last ${value}` : `since ${absolute(value)}`);
const until = (value) => (Number.isNaN(Date.parse(value)) ? `more than ${value} ago` : `before ${absolute(value)}`);

// Which jobs a filter of the API means; `state` is a name or a list of names.
export function filterWords(filter) {
  const states = [filter.state ?? []].flat();
  return [
    capital(`${states.join(" or ")} jobs`.trim()),
    filter.kind && `of the kind ${filter.kind}`,
    filter.batch && `of the batch ${filter.batch}`,
    filter.tag && `with the tag ${filter.tag}`,
    filter.waiting_for && `that wait for ${filter.waiting_for.replace(":", " ")}`,
    filter["error.group"] && `of the error group ${filter["error.group"]}`,
    (filter.since || filter.until) && "accepted",
    filter.since && since(filter.since),
    filter.until && until(filter.until),
  ].filter(Boolean).join(" ");
}

// The list of the jobs that match now. A list has one state at most, and a group implies its state.
export function jobsAddress(filter) {
  const states = [filter.state ?? []].flat();
  return address("/jobs", { ...filter, state: states.length === 1 && !filter["error.group"] && !filter.waiting_for ? states[0] : null });
}

export const hasEnded = (action) => action.ended_at !== null;

export const refusedCount = (action) => Object.values(action.refused).reduce((sum, one) => sum + one, 0);

const leftCount = (action) => Math.max(0, action.matched - action.done - refusedCount(action));

const REASONS = {
  "not-found": "not found", "wrong-state": "wrong state", moved: "changed after the preview", cancelling: "cancel requested before",
  erased: "erased", edited: "edited", resolved: "resolved by hand", refused: "refused by the database",
};

// "40 of 100 done · 3 refused (wrong state 3) · 57 left"
export function tallyWords(action) {
  const refused = refusedCount(action);
  const reasons = Object.entries(action.refused).map(([reason, number]) => `${REASONS[reason] ?? reason} ${count(number)}`);
  return [
    `${count(action.done)} of ${counted(action.matched, action.matched_is_exact)} done`,
    refused > 0 && `${count(refused)} refused (${reasons.join(", ")})`,
    action.matched_is_exact && leftCount(action) > 0 && `${count(leftCount(action))} left${hasEnded(action) ? " as they were" : ""}`,
    action.rate_per_s !== null && !hasEnded(action) && `at most ${action.rate_per_s}/s`,
    action.abort_requested_at && !hasEnded(action) && "ends at once, as requested",
  ].filter(Boolean).join(" · ");
}

// Some of these states have the name of a state of a job, and then its look.
const LOOKS = { planned: { tone: "wait", shape: "ring" }, done: { tone: "good", shape: "check" }, aborted: { tone: "off", shape: "bar" } };

export function bulkChip(action) {
  const { tone, shape } = LOOKS[action.state] ?? lookOf(action.state);
  return mark(tone, shape, action.state);
}

// What a schedule says in words: when it is due, what its rules mean, and what became of a firing.
import { jobAddress } from "./api.js";
import { h } from "./dom.js";
import { count, instant, shortId } from "./format.js";
import { mark, stateChip } from "./parts.js";

export const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
export const OVERLAPS = {
  skip: "skip the firing while a job is live", queue_one: "hold one firing until the live jobs have ended", cancel_running: "cancel live jobs, then start", all: "start in addition to live jobs",
};
const DAILY = /^(\d{1,2}) (\d{1,2}) \* \* (\*|1-5|MON-FRI)$/i;
const HOURLY = /^(\d{1,2}) \* \* \* \*$/;
const OUTCOMES = {
  asked: ["later", "clock", "asked for"], starting: ["run", "play", "starts"], started: ["good", "check", "started"],
  held: ["later", "hourglass", "held"], skipped: ["off", "bar", "skipped"], missed: ["bad", "cross", "missed"], refused: ["bad", "cross", "refused"],
};
const WHYS = {
  overlap: "a job of the schedule was still live", superseded: "a newer firing superseded it", paused: "the schedule was paused",
  "catch-up": "no intake could fire it in time", "unknown-kind": "no worker has registered the kind", payload: "no live worker accepts the payload",
  "quota-exceeded": "the tenant's quota of jobs is reached", "time-zone": "the time zone no longer exists",
};

// The largest unit of which a duration is a whole number: [number, unit, its seconds].
export function inUnits(seconds) {
  const [unit, size] = UNITS.find(([, one]) => seconds % one === 0);
  return [seconds / size, unit, size];
}

function everyWords(seconds) {
  const [number, unit] = inUnits(seconds);
  return number === 1 ? `Every ${unit}` : `Every ${count(number)} ${unit}s`;
}

// The expressions that most schedules have; the others speak for themselves.
function cronWords(cron) {
  const [, minute, hour, days] = DAILY.exec(cron) ?? [];
  const [, past] = HOURLY.exec(cron) ?? [];
  if (minute !== undefined) return `${days === "*" ? "Every day" : "Monday to Friday"} at ${hour.padStart(2, "0")}:${minute.padStart(2, "0")}`;
  return past === undefined ? null : `Every hour at ${past.padStart(2, "0")} past`;
}

// When a schedule is due: words where there are some, and the expression with its time zone.
export function whenWords({ cron, every_s: everySeconds, timezone }) {
  if (cron === null) return everyWords(everySeconds);
  const words = cronWords(cron);
  const expression = [h("code", cron), ` ${timezone}`];
  return words === null ? expression : [words, h("div", { class: "small faint" }, expression)];
}

// What became of a firing, with a link to its job.
export function firingWords({ outcome, why, detail, job, job_state: state, count: times }) {
  if (state) return [stateChip(state), " ", h("a", { href: jobAddress(job), title: job, class: "nowrap" }, shortId(job))];
  const [tone, form, word] = OUTCOMES[outcome] ?? ["off", "bar", outcome];
  const isGone = job !== null && outcome === "started";
  return [mark(tone, form, times > 1 ? `${word} ${count(times)} times` : word), isGone ? ", its job was deleted" : why && `: ${WHYS[why] ?? why}`,
    detail && h("div", { class: "faint small" }, detail)];
}

// How far the newest backfill is.
export const backfillWords = ({ from, until, started, present, refused, ended_at: ended }) => [
  ended ? "ended" : "under way", `: ${count(started)} fired, ${count(present)} had a job`, refused > 0 && `, ${count(refused)} refused`,
  h("div", { class: "small faint" }, instant(from), " to ", instant(until)),
];

// Who paused it and why, without its time.
export const pausedBy = ({ client, reason }) => `by ${client}${reason === null ? "" : `: ${reason}`}`;

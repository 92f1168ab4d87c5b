// Whether all is well, and which part is not: sentences that say what a person may do.
import { address, kindAddress } from "./api.js";
import { queuedState } from "./config.js";
import { h } from "./dom.js";
import { count, plural, time } from "./format.js";
import { pausedWords } from "./kind_table.js";
import { endedIn } from "./counts.js";

// Parts of the gateway's readiness: their names, what their fault means for jobs, and where to look.
const PARTS = {
  mongodb: { name: "MongoDB", effect: "Requests get a 503, and no job starts or ends. No accepted job is lost.", look: "./just logs mongod" },
  rabbitmq: { name: "RabbitMQ", effect: "Requests are accepted as before. Jobs start again when it is back.", look: "./just logs rabbitmq" },
  "virtual host": { name: "Queues", meaning: "The virtual host of RabbitMQ, which holds the queues, serves this database alone" },
  process: { name: "This gateway" },
};
const FINE = "ok";
// The last minutes, in the words of the API and of people: what was mended is well again after that time.
export const RECENT = { window: "5m", text: "5 min" };
const LONG_WAIT_MS = 60_000;
// Of fewer runs a share says nothing.
const RUNS_AT_LEAST = 20;
const MANY_FAIL = 0.2;
// The states of endpoints that need a person.
const NO_EVENTS = ["failing", "disabled"];

export const partName = (part) => PARTS[part]?.name ?? part;
export const partMeaning = (part) => PARTS[part]?.meaning ?? null;
export const isFine = (state) => state === FINE;

const kindLink = (kind) => h("a", { href: kindAddress(kind) }, kind);
const bad = (key, ...words) => ({ key, tone: "bad", form: "cross", words });
const note = (key, tone, form, ...words) => ({ key, tone, form, words });

// Parts that are not well: since when, what that means, and what to do.
export function faultyParts({ parts, since = {} }) {
  return Object.entries(parts).filter(([, state]) => !isFine(state)).map(([part, state]) => {
    const { effect, look } = PARTS[part] ?? {};
    // Some faults begin with the name of their part.
    const words = state.startsWith(partName(part)) ? state.slice(partName(part).length).trim() : state;
    return bad(`part ${part} ${since[part]} ${state}`, h("strong", partName(part)), ` ${words}`, since[part] && [", since ", time(since[part])], ".",
      effect && ` ${effect}`, look && [" Look: ", h("code", "./just status"), ", ", h("code", look)]);
  });
}

// What is wrong, the worst first. `rows` are those of the table of kinds; `recent` has the totals of each kind over RECENT;
// `workers` is null, and `endpoints` is empty, for clients that may not read them.
export function findings({ ready, workers, rows, total, recent, endpoints, now = Date.now() }) {
  const found = faultyParts(ready);
  if (workers !== null && workers.length === 0) {
    found.push(bad("no worker", h("strong", "No worker runs."), " Requests are accepted and wait. Start one: ", h("code", "./just scale worker=1")));
  }
  for (const row of rows) found.push(...ofKind(row, workers, recent.get(row.kind), now));
  if (total.jobs > 0) {
    const jobs = `${count(total.jobs)}${total.is_exact ? "" : " or more"} failed ${total.jobs === 1 ? "job" : "jobs"}`;
    found.push(bad(`attention ${total.jobs} ${total.groups}`, h("a", { href: "/attention" }, jobs),
      ` ${total.jobs === 1 ? "needs" : "need"} attention, in ${plural(total.groups, "group")} of errors.`));
  }
  for (const endpoint of endpoints) found.push(...ofEndpoint(endpoint));
  return found.sort((one, other) => (other.tone === "bad") - (one.tone === "bad"));
}

function ofKind({ kind, paused, waiting, oldest, workers: serving }, workers, totals, now) {
  const found = [];
  if (paused !== null) {
    found.push(note(`paused ${kind} ${paused.since}`, "later", "bar", kindLink(kind), pausedWords({ kind, paused }).slice(kind.length), ", ", time(paused.since), "."));
  } else if (waiting > 0 && serving === 0 && workers.length > 0) {
    found.push(bad(`unserved ${kind} ${waiting}`, kindLink(kind), `: ${plural(waiting, "job")} wait, and no worker serves this kind.`));
  } else if (waiting > 0 && serving > 0 && oldest !== null && now - Date.parse(oldest) > LONG_WAIT_MS) {
    const jobs = h("a", { href: address("/jobs", { kind, state: queuedState }) }, plural(waiting, "job"));
    found.push(note(`oldest ${kind} ${oldest} ${waiting}`, "off", "clock", kindLink(kind), ": ", jobs, " queued, the oldest ", time(oldest), "."));
  }
  const ended = totals === undefined ? 0 : endedIn(totals);
  if (ended >= RUNS_AT_LEAST && totals.failed / ended > MANY_FAIL) {
    const share = Math.round((100 * totals.failed) / ended);
    found.push(bad(`share ${kind} ${share}`, kindLink(kind), `: ${share} % of its jobs that ended in the last ${RECENT.text} have failed.`));
  }
  return found;
}

function ofEndpoint({ name, state, disabled, failing_since: since }) {
  if (!NO_EVENTS.includes(state)) return [];
  return [bad(`endpoint ${name} ${state}`, "Callback endpoint ", h("a", { href: "/callbacks" }, name), " gets no events: ",
    state === "failing" ? ["all calls fail, the first one ", time(since)] : ["Acked disabled it", disabled && [" ", time(disabled.at)]], ".")];
}

// The verdict in a few words.
export function verdict(found) {
  const worst = found.filter(({ tone }) => tone === "bad").length;
  if (worst > 0) return { tone: "bad", form: "cross", text: worst === 1 ? "One problem" : `${worst} problems` };
  if (found.length > 0) return { tone: "off", form: "clock", text: "Working, with remarks" };
  return { tone: "good", form: "check", text: "All is well" };
}

// What an entry of the audit says in a sentence, with links to what it concerns. Entries tell what a person asked for.
import { bulkAddress, jobAddress, kindAddress, scheduleAddress } from "./api.js";
import { h } from "./dom.js";
import { absolute, limitWords, plural, shortId } from "./format.js";
import { stateChip } from "./parts.js";

const link = (href, text, title) => h("a", { href, title }, text);
const job = ({ job: id }) => link(jobAddress(id), shortId(id), id);
const kind = ({ kind: name }) => link(kindAddress(name), name);
const schedule = ({ schedule: name }) => link(scheduleAddress(name), name);
const bulk = (target, text) => link(bulkAddress(target.bulk), text);
const words = (verb) => verb.replaceAll("_", " ");

// "kind: demo, state: …", as the person gave them.
export const filterWords = (filter) => Object.entries(filter).map(([name, value]) => `${name}: ${value}`).join(", ") || "all of them";

function bulkOrder({ target, count }) {
  const jobs = count === undefined ? "jobs" : plural(count, "job");
  const which = target.filter === undefined ? ["chosen by id"] : ["where ", h("span", { class: "filter" }, filterWords(target.filter))];
  return [`Bulk ${words(target.action)} of `, bulk(target, jobs), " ", ...which];
}

function note(target) {
  const parts = [];
  if (target.taken !== undefined) parts.push(target.taken ? "take it" : "hand it back");
  if (target.snoozed_until !== undefined) parts.push(target.snoozed_until === null ? "end its snooze" : `snooze it until ${absolute(target.snoozed_until)}`);
  if (target.comment === null) parts.push("remove its comment");
  return ["Group of failures ", link(`/attention#${new URLSearchParams({ group: target.group })}`, h("code", target.group)), ": ", parts.join(", ") || "comment on it"];
}

const SENTENCES = {
  cancel: ({ target }) => ["Cancel job ", job(target)],
  retry: ({ target }) => ["Retry job ", job(target)],
  run_now: ({ target }) => ["Run job ", job(target), " now"],
  erase: ({ target }) => ["Erase payload and result of job ", job(target)],
  edit: ({ target }) => ["Retry job ", job(target), " with another payload"],
  resolve: ({ target }) => ["Resolve job ", job(target), " as ", stateChip(target.state)],
  pause: ({ target }) => ["Pause kind ", kind(target)],
  resume: ({ target }) => ["Resume kind ", kind(target)],
  limit: ({ target }) => ["Limit kind ", kind(target), ` to ${limitWords(target.after)}`, target.before ? `, before ${limitWords(target.before)}` : ""],
  schedule_put: ({ target }) => ["Define schedule ", schedule(target), " for jobs of kind ", link(kindAddress(target.kind_of_jobs), target.kind_of_jobs)],
  schedule_delete: ({ target }) => ["Delete schedule ", schedule(target)],
  schedule_pause: ({ target }) => ["Pause schedule ", schedule(target)],
  schedule_resume: ({ target }) => ["Resume schedule ", schedule(target)],
  schedule_run: ({ target }) => ["Run schedule ", schedule(target), " now"],
  schedule_backfill: ({ target }) => ["Backfill schedule ", schedule(target), ` from ${target.from} until ${target.until}`],
  unlimit: ({ target }) => ["Remove the limit of kind ", kind(target), target.before ? `, ${limitWords(target.before)}` : ""],
  drain: ({ target }) => ["Drain worker ", link("/workers", target.worker), ` (${target.instance})`],
  bulk: bulkOrder,
  bulk_abort: ({ target }) => ["Abort the ", bulk(target, `bulk ${words(target.action)}`)],
  attention: ({ target }) => note(target),
  callback_resend: ({ target }) => ["Send a callback of job ", job(target), " again"],
  callback_secret_make: ({ target }) => ["Make secret ", link("/callbacks", target.secret), " for callbacks"],
  callback_secret_end: ({ target }) => ["End secret ", link("/callbacks", target.secret), " of callbacks"],
  callback_endpoint_put: ({ target }) => ["Define callback endpoint ", link("/callbacks", target.endpoint)],
  callback_endpoint_delete: ({ target }) => ["Delete callback endpoint ", link("/callbacks", target.endpoint)],
  callback_endpoint_enable: ({ target }) => ["Enable callback endpoint ", link("/callbacks", target.endpoint)],
  callback_endpoint_disable: ({ target }) => ["Disable callback endpoint ", link("/callbacks", target.endpoint)],
  token_make: ({ target }) => ["Make token ", h("code", target.token), ` for client ${target.client}`, target.may ? `, who may ${target.may.join(", ")}` : ""],
  token_revoke: ({ target }) => ["Revoke token ", h("code", target.token), ` of client ${target.client}`],
};

export const actions = Object.keys(SENTENCES);

// The parts of the sentence; an act of a newer version is shown as it is stored.
export function sentence(entry) {
  const say = Object.hasOwn(SENTENCES, entry.action) ? SENTENCES[entry.action] : null;
  return say === null ? [words(entry.action), " ", h("code", JSON.stringify(entry.target))] : say(entry);
}

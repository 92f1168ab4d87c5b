// What is known of a job beside its bodies: where it belongs, when things happened, and commands for a terminal.
import { address, batchAddress, freshKey, jobAddress, kindAddress, scheduleAddress } from "./api.js";
import { count, duration, instant, plural } from "./format.js";
import { isLong } from "./json_text.js";
import { command, copyButton, fact } from "./parts.js";
import { failedState, intakeUrl, isTerminal } from "./config.js";
import { h } from "./dom.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const jobLink = (id) => h("a", { href: jobAddress(id) }, h("code", id));

// What stands behind the prefix of one of the tags that Acked sets.
const tagged = (job, prefix) => job.tags.find((tag) => tag.startsWith(prefix))?.slice(prefix.length);

export function factsOf(job) {
  const [schedule, called] = [tagged(job, "schedule:"), tagged(job, "callback:")];
  const group = job.error?.group;
  return h("dl", { class: "pairs" },
    fact("Id", h("code", job.id), " ", copyButton(job.id, "Copy", "Copy the id")),
    fact("Kind", h("a", { href: kindAddress(job.kind) }, job.kind)),
    job.batch !== null && fact("Batch", h("a", { href: batchAddress(job.batch) }, job.batch)),
    schedule && fact("Schedule", h("a", { href: scheduleAddress(schedule) }, schedule)),
    called && fact("Delivers a callback of", jobLink(called)),
    job.tags.length > 0 && fact("Tags", h("ul", { class: "choices" }, job.tags.map((tag) => h("li", h("a", { href: address("/jobs", { tag }) }, tag))))),
    fact("Accepted", instant(job.accepted_at)),
    job.due_at && fact("Due", instant(job.due_at)),
    job.started_at && fact(job.attempt > 1 ? "Last start" : "Started", instant(job.started_at)),
    job.finished_at && fact("Ended", instant(job.finished_at),
      job.started_at && `, ${duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)} after ${job.attempt > 1 ? "the last start" : "the start"}`),
    job.waits && fact("Waits for", `${job.waits.call} `, h("code", job.waits.name), job.waits.until_at && [", until ", instant(job.waits.until_at)],
      job.waits.signals.length > 0 && [", or a signal: ", job.waits.signals.join(", ")]),
    job.steps && fact("Durable calls", `${count(job.steps.kept)} kept, ${plural(job.steps.unread, "unread signal")}`),
    fact("Attempts", `${job.attempt} in all, ${job.failures} failed${job.run > 1 ? ` since the last retry by a person (run ${job.run})` : ""}`),
    group && fact("Error group", h("a", { href: address("/jobs", { state: failedState, "error.group": group }) }, "Jobs that failed like this"), " ",
      h("code", group)),
    job.edited_from && fact("Replaces", jobLink(job.edited_from)),
    job.edited_to && fact("Replaced by", jobLink(job.edited_to)),
    job.note && fact("Note", h("q", job.note)),
    job.erased_at && fact("Erased", instant(job.erased_at)));
}

function submitCommand(job, curl) {
  const tags = job.tags.length === 0 ? {} : { tags: job.tags };
  const batch = job.batch === null ? {} : { batch: job.batch };
  const body = JSON.stringify({ kind: job.kind, payload: job.payload, ...batch, ...tags });
  if (isLong(body)) return null;
  return `${curl} -i -H 'Content-Type: application/json' -H 'Idempotency-Key: ${freshKey()}' \\\n  -d ${quoted(body)} ${intakeUrl}/process`;
}

// Commands for a terminal; `curl` is how they begin.
export function commandsOf(job, curl) {
  const signal = job.waits?.signals.find((name) => name !== "*") ?? "paid";
  const mayTakeSignals = !isTerminal(job.state) && (job.steps || job.waits);
  const submit = job.erased_at ? null : submitCommand(job, curl);
  return h("details", h("summary", "Copy as curl"),
    h("h3", "Get its status"), command(`${curl} ${quoted(`${location.origin}/status/${job.id}`)}`, "Command that gets the status"),
    job.steps && [h("h3", "List its durable calls"), command(`${curl} ${quoted(`${location.origin}/jobs/${job.id}/steps?order=newest`)}`, "Command that lists its durable calls")],
    mayTakeSignals && [h("h3", "Send it a signal"), command(`${curl} -i -H 'Content-Type: application/json' -H 'Idempotency-Key: ${freshKey()}' \\\n  -d null ${quoted(`${location.origin}/jobs/${job.id}/signals/${signal}`)}`, "Command that sends it a signal")],
    h("h3", "Send the same again, as a new job"),
    submit === null ? h("p", { class: "faint" }, "The payload is too long for a command, or erased.") : command(submit, "Command that sends the same again"));
}

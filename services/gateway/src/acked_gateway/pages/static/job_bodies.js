// What a job holds: payload, result, errors and all of it, each in a tab, long ones at first in part.
import { failedState } from "./config.js";
import { beginning, isLong, written } from "./json_text.js";
import { copyButton, emptyPlace } from "./parts.js";
import { duration, time } from "./format.js";
import { fill, h } from "./dom.js";

const KIB = 1024;

// A text of any length: its first 64 KiB, and all of it for who asks.
export function longText(text, label) {
  const shown = h("pre", { tabindex: "0", "aria-label": label }, beginning(text));
  const copy = copyButton(text, "Copy", `Copy ${label}`);
  if (!isLong(text)) return h("div", shown, copy);
  const size = `${Math.ceil(text.length / KIB).toLocaleString("en")} KiB`;
  const all = h("button", { type: "button", class: "quiet small", on: { click: () => { fill(shown, text); all.remove(); } } }, `Show all of ${size}`);
  return h("div", shown, h("div", { class: "row" }, all, copy));
}

const body = (value, label) => longText(written(value), label);

export function payloadOf(job) {
  return job.erased_at ? emptyPlace("The payload was erased.") : body(job.payload, "Payload");
}

export function resultOf(job) {
  if (job.erased_at) return emptyPlace("The result was erased.");
  if (job.result === null && job.progress === null) return emptyPlace(job.finished_at === null ? "No result yet." : job.state === failedState ? "The job failed: it has no result." : "The job returned nothing.");
  return body(job.result, "Result");
}

const OUTCOMES = { failed: "failed", timed_out: "timed out", crashed: "crashed", lost: "lost with its worker" };

function errorOf({ run, attempt, worker, started_at: startedAt, ended_at: endedAt, outcome, error }) {
  return h("article", { class: "error" },
    h("h3", `Attempt ${attempt} on ${worker}, run ${run}: ${OUTCOMES[outcome] ?? outcome}`),
    h("p", { class: "faint small" }, time(endedAt), ` after ${duration((Date.parse(endedAt) - Date.parse(startedAt)) / 1000)}`,
      error.retryable ? "" : ", not to be tried again"),
    h("p", { class: "message" }, h("strong", error.type), ": ", error.message),
    error.culprit && h("p", h("span", { class: "faint" }, "In your code: "), h("code", error.culprit)),
    error.traceback && h("details", { open: true }, h("summary", "Traceback"), longText(error.traceback, "Traceback")));
}

export function errorsOf(job, mayOperate) {
  const attempts = [...job.attempts].reverse();
  if (attempts.length === 0 && job.error) {
    return h("article", { class: "error" }, h("p", { class: "message" }, h("strong", job.error.type), ": ", job.error.message));
  }
  if (attempts.length === 0) return emptyPlace(job.erased_at ? "The errors were erased." : "No attempt has failed.");
  return [attempts.map(errorOf), !mayOperate && h("p", { class: "faint" }, "Lines of code and tracebacks are shown to tokens with the permission operate.")];
}

export const rawOf = (job) => body(job, "Raw JSON");

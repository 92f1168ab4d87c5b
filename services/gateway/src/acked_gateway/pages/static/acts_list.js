// What people did last, each as a sentence with a link to what it was done to.
import { bulkAddress, jobAddress, kindAddress, scheduleAddress } from "./api.js";
import { h } from "./dom.js";
import { shortId, time } from "./format.js";

const WORDS = {
  cancel: "cancelled job", retry: "retried job", run_now: "ran job now:", resolve: "resolved job", erase: "erased job", edit: "edited job",
  bulk: "began bulk action", bulk_abort: "stopped bulk action", drain: "drained worker", pause: "paused kind", resume: "resumed kind",
  limit: "limited kind", unlimit: "removed the limit of kind",
  schedule_put: "defined schedule", schedule_delete: "deleted schedule", schedule_pause: "paused schedule",
  schedule_resume: "resumed schedule", schedule_run: "ran schedule now:", schedule_backfill: "backfilled schedule",
  attention: "noted on a group of errors", token_make: "made a token for", token_revoke: "revoked the token of",
  callback_resend: "sent a callback again of", callback_secret_make: "made a secret for callbacks:",
  callback_secret_end: "ended a secret for callbacks:",
};

function targetOf(target) {
  if (target.job) return h("a", { href: jobAddress(target.job) }, shortId(target.job));
  if (target.kind) return h("a", { href: kindAddress(target.kind) }, target.kind);
  if (target.bulk) return h("a", { href: bulkAddress(target.bulk) }, shortId(target.bulk));
  if (target.worker) return h("a", { href: "/workers" }, target.worker);
  if (target.group) return h("a", { href: "/attention" }, target.group.slice(0, 8));
  if (target.schedule) return h("a", { href: scheduleAddress(target.schedule) }, target.schedule);
  return target.client ?? target.secret ?? "";
}

export const actLine = ({ at, client, action, target, reason }) => h("li",
  h("div", { class: "side" }, h("span", h("strong", client), ` ${WORDS[action] ?? action.replaceAll("_", " ")} `, targetOf(target)), time(at)),
  reason ? h("div", { class: "faint" }, reason) : null);

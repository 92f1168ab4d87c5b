// How many groups of failed jobs need attention, beside the link in the rail of every page.
import { address, ask } from "./api.js";
import { byId, h, renew } from "./dom.js";
import { plural } from "./format.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 10_000;

export function showCount({ groups, jobs, is_exact: isExact }) {
  const badge = byId("attention-count");
  badge.hidden = groups === 0;
  badge.title = `${plural(jobs, "failed job")}${isExact ? "" : " or more"}`;
  const text = isExact ? String(groups) : `${groups}+`;
  renew(badge, text, () => [text, h("span", { class: "unseen" }, groups === 1 ? " group of errors" : " groups of errors")]);
}

// The count is a hint: where it can't be had, the page goes on without a word.
export function followCount(page, everyMs = EVERY_MS) {
  const quiet = { signal: page.signal, heard() {}, lost() {}, failed() {} };
  new Refresh(quiet, {
    everyMs,
    load: (signal) => ask(address("/attention", { page_size: 1 }), { signal }),
    show: ({ total }) => showCount(total),
  });
}

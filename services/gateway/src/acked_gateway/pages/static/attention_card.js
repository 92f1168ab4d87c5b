// One group of errors: what fails, since when, who attends to it, and what can be done for all of its jobs.
import { address, ask, jobAddress, kindAddress } from "./api.js";
import { Acts } from "./attention_acts.js";
import { BulkProgress } from "./bulk.js";
import { hasEnded } from "./bulk_words.js";
import { fill, h, renew, say, svg } from "./dom.js";
import { count, counted, shortId, time, updateTime } from "./format.js";
import { problemBox, skeleton } from "./parts.js";

const EXAMPLES = 5;
const SPARK_HEIGHT = 24;
const END_SHOWN_MS = 6000;
const UNGROUPED = "ungrouped";

const jobsOf = (group) => address("/jobs", { "error.group": group });

// The failures of each minute of the last hour, as one path of bars.
function sparkline() {
  const path = svg("path");
  const element = svg("svg", { class: "spark", viewBox: `0 0 60 ${SPARK_HEIGHT}`, preserveAspectRatio: "none", role: "img" }, path);
  const show = (minutes) => {
    const most = Math.max(...minutes, 1);
    const all = minutes.reduce((sum, one) => sum + one, 0);
    const height = (value) => (value === 0 ? 0 : Math.max(1, Math.round(value / most * SPARK_HEIGHT)));
    path.setAttribute("d", `M0 ${SPARK_HEIGHT}${minutes.map((value) => `v${-height(value)}h1v${height(value)}`).join("")}z`);
    element.setAttribute("aria-label", all === 0 ? "None failed in the last hour" : `${count(all)} failed in the last hour, at most ${count(most)} in a minute`);
  };
  return { element, show };
}

export class GroupCard {
  #page;
  #group;
  #progress = null;
  #endSeenAt = null;
  #spark = sparkline();
  #new = h("span", { class: "new" });
  #message = h("a");
  #kind = h("a");
  #type = h("span");
  #culprit = h("code");
  #count = h("strong", { class: "group-count" });
  #first = time(new Date().toISOString());
  #last = time(new Date().toISOString());
  #notes = h("p", { class: "notes" });
  #place = h("div");
  #trouble = h("div");
  #listLink = h("a", { class: "button quiet small" }, "Open list");
  #acts;

  constructor(page, group, { changed }) {
    this.#page = page;
    this.#acts = page.may("operate") ? new Acts(page, {
      current: () => this.#group, follow: (progress) => this.#follow(progress), changed, place: this.#place, trouble: this.#trouble,
    }) : null;
    const id = `group-${group.group}`;
    this.element = h("article", { class: "card group", "data-row": "", "aria-labelledby": id },
      h("div", { class: "group-head" },
        h("div", h("h2", { class: "message", id }, this.#message), h("p", { class: "faint small" }, this.#type, "kind ", this.#kind, " ", this.#new), h("p", this.#culprit)),
        h("div", { class: "group-size" }, h("p", this.#count, " failed"), this.#spark.element, h("p", { class: "faint small" }, "last hour"))),
      h("p", { class: "small" }, "First ", this.#first, ", last ", this.#last), this.#notes, this.#place, this.#trouble,
      h("div", { class: "row acts", role: "group", "aria-labelledby": id }, this.#acts?.buttons, this.#listLink),
      this.#examples());
    this.show(group);
  }

  // Shows the newest figures in their places; `seenAt` is the instant of the person's last visit, or null.
  show(group, seenAt = null) {
    this.#group = group;
    const isUngrouped = group.group === UNGROUPED;
    say(this.#message, isUngrouped ? "Jobs that failed without a group" : [group.type, group.message].filter(Boolean).join(": "));
    this.#message.href = this.#listLink.href = jobsOf(group.group);
    say(this.#kind, group.kind);
    this.#kind.href = kindAddress(group.kind);
    // Jobs of a group fail alike, with messages that may differ.
    say(this.#type, isUngrouped || group.count === 1 ? "" : "Message of one of the jobs · ");
    say(this.#culprit, group.culprit ?? "");
    this.#culprit.parentElement.hidden = !group.culprit;
    say(this.#count, counted(group.count, group.count_is_exact));
    this.#spark.show(group.per_minute);
    updateTime(this.#first, group.first_at);
    updateTime(this.#last, group.last_at);
    say(this.#new, seenAt === null ? "" : group.first_at > seenAt ? "new" : group.last_at > seenAt ? "more" : "");
    this.#new.title = { new: "First failed after your last visit", more: "Failed again after your last visit" }[this.#new.textContent] ?? "";
    this.#showNotes();
    this.#acts?.show(group);
  }

  // Shows an action that is under way for this group, such as that of another person.
  followAction(action) {
    if (this.#progress?.action.id !== action.id) this.#follow(new BulkProgress(this.#page, action));
  }

  // Whether an action's progress is still to be seen: until its end, until a count that came after it, and long enough
  // to be read: that count may come first.
  isBusy(countedAt) {
    if (this.#progress === null) return false;
    const { action } = this.#progress;
    if (!hasEnded(action)) return true;
    this.#endSeenAt ??= performance.now();
    return countedAt === null || countedAt <= action.ended_at || performance.now() - this.#endSeenAt < END_SHOWN_MS;
  }

  get group() {
    return this.#group;
  }

  focus() {
    this.#message.focus();
  }

  #follow(progress) {
    this.#progress = progress;
    this.#endSeenAt = null;
    fill(this.#place, progress.element);
  }

  #showNotes() {
    const { comment, taken_by: by, taken_at: at, snoozed_until: until } = this.#group;
    const isSnoozed = until !== null && Date.parse(until) > Date.now();
    renew(this.#notes, [comment, by, at, isSnoozed && until], () => [by !== null && h("span", "Taken by ", h("strong", by), " ", time(at)),
      isSnoozed && h("span", "Snoozed, back ", time(until)), comment !== null && h("q", comment)]);
    this.#notes.hidden = this.#notes.childElementCount === 0;
  }

  // The newest jobs with their errors, and the traceback of the newest one: asked for when the person opens the place.
  #examples() {
    const place = h("div");
    const details = h("details", { class: "small" }, h("summary", "Examples and traceback"), place);
    details.addEventListener("toggle", async () => {
      if (!details.open) return;
      fill(place, skeleton());
      const { signal } = this.#page;
      try {
        const { jobs } = await ask(address("/jobs", { "error.group": this.#group.group, page_size: EXAMPLES }), { signal });
        const newest = jobs.length === 0 ? null : await ask(jobAddress(jobs[0].id), { signal });
        fill(place, jobs.map((job, at) => example(job, at === 0 && traceback(newest))), newest === null && h("p", "None of its jobs is failed any more."));
      } catch (problem) {
        fill(place, problemBox(problem));
      }
    });
    return details;
  }
}

const example = ({ id, error, finished_at: endedAt }, more) => h("div", { class: "example" },
  h("p", h("a", { href: jobAddress(id) }, "Job ", shortId(id)), " failed ", time(endedAt)), error && h("p", h("strong", error.type), ": ", error.message), more);

// Of the newest attempt that failed; only operators are given one.
function traceback({ attempts = [] }) {
  const last = attempts.at(-1);
  return last?.error?.traceback ? [h("p", { class: "faint" }, `Attempt ${last.attempt} of run ${last.run} on ${last.worker}`),
    h("pre", { tabindex: "0", "aria-label": "Traceback" }, last.error.traceback)] : h("p", { class: "faint" }, "No traceback: errors of handlers have one, for tokens with the permission operate.");
}

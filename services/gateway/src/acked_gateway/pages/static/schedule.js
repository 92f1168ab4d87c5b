// One schedule: when it fires next, what became of its firings, its definition, and what a person can do about it.
import { NOT_FOUND, address, ask, kindAddress, orRefusal, scheduleAddress, send } from "./api.js";
import { actButton, carryOut, notice, question, reasonField, withReason } from "./act.js";
import { permissions } from "./config.js";
import { fill, h, keyed, renew } from "./dom.js";
import { count, duration, instant, time } from "./format.js";
import { longText } from "./job_bodies.js";
import { parseExactly, written } from "./json_text.js";
import { card, emptyPlace, fact, list, mark, problemBox, skeleton, textField } from "./parts.js";
import { Refresh } from "./refresh.js";
import { editSchedule, instantLines } from "./schedule_form.js";
import { OVERLAPS, backfillWords, firingWords, pausedBy, whenWords } from "./schedule_words.js";

const EVERY_MS = 2000;
const [FEW, MANY] = [5, 100];
const BY_PEOPLE = { run_now: "by Run now", backfill: "by Backfill" };

// The payload with its numbers as they were sent.
const parseSchedule = (text) => ({ ...JSON.parse(text), payload: parseExactly(text).payload });

const factsOf = (schedule) => h("dl", { class: "pairs" },
  fact("Kind", h("a", { href: kindAddress(schedule.kind) }, schedule.kind)), fact("Due", whenWords(schedule)),
  schedule.from && fact("From", instant(schedule.from)), schedule.until && fact("Until", instant(schedule.until)),
  fact("Overlap", OVERLAPS[schedule.overlap] ?? schedule.overlap),
  fact("Catch-up", `firings may be up to ${duration(schedule.catch_up_s)} late`),
  schedule.jitter_s > 0 && fact("Jitter", `each firing is delayed by up to ${duration(schedule.jitter_s)}`),
  schedule.backfill && fact("Backfill", backfillWords(schedule.backfill)),
  schedule.batch && fact("Batch", schedule.batch), schedule.tags.length > 0 && fact("Tags", schedule.tags.join(", ")),
  fact("Definition", `revision ${count(schedule.revision)}, changed `, instant(schedule.changed_at)), fact("Made", instant(schedule.made_at)));

const firingRow = () => h("tr", { "data-row": "" }, h("th", { scope: "row" }), h("td"));

function updateFiring(element, firing) {
  const [at, became] = element.children;
  renew(at, [firing.at, firing.last_at, firing.trigger], () => [instant(firing.at), firing.last_at && h("div", "to ", instant(firing.last_at)),
    firing.trigger in BY_PEOPLE && h("div", { class: "small" }, BY_PEOPLE[firing.trigger])]);
  renew(became, firing, () => firingWords(firing));
}

class SchedulePage {
  #page;
  #url;
  #schedule = null;
  #preview = null;
  #previewed = FEW;
  #refresh;
  #state = h("p", { class: "verdict" });
  #acts = h("div", { class: "row" });
  #trouble = h("div");
  #next = h("dd");
  #last = h("dd");
  #facts = h("div");
  #payload = h("div");
  #instants = h("div");
  #rows = h("tbody");
  #none = h("div");

  constructor(page) {
    this.#page = page;
    this.#url = scheduleAddress(page.parameters.name);
  }

  begin() {
    this.#refresh = new Refresh(this.#page, { everyMs: EVERY_MS, load: (signal) => orRefusal(this.#load(signal)), show: (found) => this.#show(found) });
  }

  async #load(signal) {
    const [schedule, { firings }] = await Promise.all([ask(this.#url, { signal, parse: parseSchedule }), ask(`${this.#url}/firings`, { signal })]);
    const seen = [schedule.revision, schedule.next_at, this.#previewed].join();
    // Time-zone data of a newer release may lack the zone: that is no matter of the rest of the page.
    if (this.#preview?.seen !== seen) this.#preview = { seen, ...await orRefusal(ask(address(`${this.#url}/next`, { count: this.#previewed }), { signal })) };
    return { schedule, firings };
  }

  #show({ schedule, firings, problem }) {
    if (problem) {
      this.#schedule = null;
      fill(this.#page.main, problem.document.status === NOT_FOUND
        ? emptyPlace(`There is no schedule ${this.#page.parameters.name}.`, "It may be of another tenant, or deleted. Its jobs stay.", h("a", { href: "/schedules" }, "All schedules"))
        : problemBox(problem));
      return;
    }
    const isFirst = this.#schedule === null;
    this.#schedule = schedule;
    if (isFirst) this.#build();
    const { paused, name, next_at: next, last_firing: last } = schedule;
    this.#page.setTitle(`Schedule ${name}`, paused === null ? name : `${name} (paused)`);
    renew(this.#state, [paused, next === null], () => (paused !== null ? [mark("later", "bar", "Paused"), h("span", pausedBy(paused), ", ", time(paused.since))]
      : next === null ? mark("off", "bar", "It will not fire again: no instant is left.") : mark("good", "check", "Active")));
    renew(this.#acts, paused === null, () => this.#buttons(paused === null));
    renew(this.#next, next, () => (next === null ? "none" : time(next)));
    renew(this.#last, last, () => (last === null ? "none yet" : time(last.last_at ?? last.at)));
    renew(this.#facts, { ...schedule, last_firing: null, next_at: null, paused: null }, () => factsOf(schedule));
    renew(this.#payload, [schedule.revision], () => longText(written(schedule.payload), "Payload"));
    renew(this.#instants, this.#preview, () => this.#instantParts());
    keyed(this.#rows, firings, ({ at, trigger, revision }) => `${at} ${trigger} ${revision}`, firingRow, updateFiring);
    renew(this.#none, firings.length === 0, () => firings.length === 0 && emptyPlace("It has not fired yet."));
  }

  #build() {
    const { name } = this.#schedule;
    fill(this.#page.main,
      h("section", { class: "card", "aria-label": "State of the schedule" }, h("div", { class: "head" }, this.#state, this.#acts), this.#trouble,
        h("dl", { class: "figures pairwise" }, h("div", h("dt", "Next firing"), this.#next), h("div", h("dt", "Last firing"), this.#last)),
        h("p", { class: "parts" }, h("a", { href: address("/jobs", { tag: `schedule:${name}` }) }, "All of its jobs"))),
      h("div", { class: "grid" }, card("Next instants", this.#instants), card("Definition", this.#facts, h("h3", { class: "next" }, "Payload"), this.#payload)),
      card("Firings", list("Firings, newest first", [["Instant"], ["Outcome"]], this.#rows, "firings"), this.#none));
  }

  #instantParts() {
    const { problem, instants } = this.#preview;
    if (problem) return problemBox(problem);
    if (instants.length === 0) return emptyPlace("No instant is left.", "Its definition ends.");
    return [this.#schedule.paused !== null && h("p", "It does not fire while it is paused."), instantLines(this.#preview, this.#schedule.jitter_s > 0),
      this.#previewed === FEW && instants.length === FEW && h("p", h("button", { type: "button", class: "quiet small", on: { click: () => { this.#previewed = MANY; this.#refresh.now(); } } }, `Show ${MANY}`))];
  }

  #buttons(isActive) {
    if (!this.#page.may(permissions.operate)) return [];
    const button = (label, work, look = "quiet") => actButton(label, work, { class: look });
    return [button("Run now", () => this.#act("run-now", undefined, "A firing was requested."), "main"), isActive ? button("Pause", () => this.#pause()) : button("Resume", () => this.#act("resume", undefined, "It fires again.")),
      button("Backfill", () => this.#backfill()), this.#page.may(permissions.submit) && button("Edit", () => this.#edit()), button("Delete", () => this.#delete())];
  }

  async #act(verb, body, done) {
    await carryOut(`${this.#url}/${verb}`, body, { done, place: this.#trouble, signal: this.#page.signal });
    this.#refresh.now();
  }

  async #pause() {
    const given = await question({
      title: `Pause ${this.#schedule.name}`, text: "It does not fire until it is resumed. Its jobs continue. Instants during the pause do not fire later.",
      fields: [reasonField()], confirm: "Pause the schedule",
    });
    if (given !== null) await this.#act("pause", withReason(given), "It is paused.");
  }

  async #backfill() {
    const field = (name, label) => textField(name, label, "", { placeholder: "2026-01-31T00:00:00Z" });
    const begun = await question({
      title: `Backfill ${this.#schedule.name}`, confirm: "Start the backfill",
      text: "Each past instant in this range fires now, oldest first, at most 1,000 of them. An instant that has a job gets no second one.",
      fields: [h("div", { class: "row" }, field("from", "From"), field("until", "Until (now if empty)"))],
      check: ({ from, until }) => send(`${this.#url}/backfill`, { from: from.trim(), ...(until.trim() && { until: until.trim() }) }, { signal: this.#page.signal }),
    });
    if (begun === null) return;
    notice("The backfill has begun.");
    this.#refresh.now();
  }

  async #edit() {
    if (await editSchedule(this.#page, this.#schedule) !== null) this.#refresh.now();
  }

  async #delete() {
    const { name } = this.#schedule;
    const sure = await question({
      title: `Delete ${name}?`, text: "It stops firing, and its list of firings is deleted. Its jobs stay.", confirm: "Delete the schedule", isDangerous: true,
    });
    if (sure === null) return;
    const gone = await carryOut(this.#url, undefined, { method: "DELETE", done: `${name} is deleted.`, place: this.#trouble, signal: this.#page.signal });
    if (gone !== null) location.assign("/schedules");
  }
}

export function show(page) {
  page.setTitle(`Schedule ${page.parameters.name}`, page.parameters.name);
  fill(page.main, skeleton(8));
  new SchedulePage(page).begin();
}

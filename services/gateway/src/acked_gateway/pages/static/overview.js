// The first page: whether all is well, what happens now, and who did what last.
import { Problem, address, ask } from "./api.js";
import { showCount } from "./attention_count.js";
import { sentence } from "./audit_words.js";
import { permissions } from "./config.js";
import { fill, h, keyed, renew, say } from "./dom.js";
import { count, duration, plural, rate, time } from "./format.js";
import { RECENT, faultyParts, findings, isFine, partMeaning, partName, verdict } from "./health.js";
import { KindTable, kindRows } from "./kind_table.js";
import { card, mark, sendCommand, shape, skeleton } from "./parts.js";
import { Refresh } from "./refresh.js";
import { acceptedIn, endedIn, failedIn, rateNow, slotsOf } from "./counts.js";
import { SeriesPlots } from "./series.js";
import { WindowPicker } from "./window.js";

const NOW_EVERY_MS = 3000;
// Counts over time are written every 10 s.
const SERIES_EVERY_MS = 10_000;
const FIGURES = ["Accepted per second", "Ended per second", "Failed per second", "Queued", "Oldest queued", "Running", "Half start within", "95 % start within"];

// A 503 of the probe is the answer too: it says which part is not ready.
async function readiness(signal) {
  try {
    return await ask("/readyz", { signal });
  } catch (problem) {
    if (problem instanceof Problem && problem.document.parts) return problem.document;
    throw problem;
  }
}

const actLine = (entry) => h("li", h("div", { class: "side" }, h("span", h("strong", entry.client), ": ", sentence(entry)), time(entry.at)),
  entry.reason && h("div", { class: "faint" }, entry.reason));

const sendCard = (page) => card("Send a job", h("p", "From a terminal:"),
  sendCommand(page, '{"kind": "demo"}', "Command that sends a job"),
  h("p", "The response has the id of the job; ", h("a", { href: "/jobs" }, "Jobs"), " lists it. Within 10 s the plots show that it was accepted, ",
    "how long it waited and how it ended. ", h("a", { href: "/load-test" }, "Load test"), " sends many at once."));

class Overview {
  #page;
  #verdict = h("p", { class: "verdict", role: "status" });
  #findings = h("ul", { class: "findings" });
  #parts = h("p", { class: "parts" });
  #figures = new Map(FIGURES.map((term) => [term, h("dd", "–")]));
  #groups = h("ul", { class: "lines" });
  #acts = h("ol", { class: "lines" });
  #first = h("div");
  #last = h("div");
  #hasJobs = false;
  #plots = new SeriesPlots("Wait until the start", "wait");
  #table;
  #picker;
  #series;
  #newest = { totals: { kinds: [] }, recent: new Map(), endpoints: [], now: null, series: null };
  #state;
  #content;

  constructor(page) {
    this.#page = page;
    this.#picker = new WindowPicker(page, () => this.#series.now());
    this.#table = new KindTable(page, "Kinds of work");
    const figures = [...this.#figures].map(([term, dd]) => h("div", h("dt", term), dd));
    this.#state = h("section", { class: "card", "aria-label": "State of the system" }, this.#verdict, this.#findings, this.#parts);
    this.#content = [this.#state, this.#first,
      h("section", { class: "card", "aria-label": "Figures" }, h("dl", { class: "figures four" }, figures)),
      h("section", { class: "card", "aria-labelledby": "over-time" }, h("div", { class: "head" }, h("h2", { id: "over-time" }, "Over time"), this.#picker.element),
        h("div", { class: "grid" }, this.#plots.elements)),
      card("Kinds", this.#table.element),
      h("div", { class: "grid" }, card("Needs attention", this.#groups), card("Last actions of operators", this.#acts, h("p", h("a", { href: "/audit" }, "All actions")))),
      this.#last];
    fill(this.#last, sendCard(page));
  }

  // What is there appears at once: a page that grows piece by piece jumps under the pointer.
  #arrived(part, value) {
    this.#newest[part] = value;
    const { now, series } = this.#newest;
    if (now === null || series === null) return;
    if (this.#content === null) {
      if (part === "series") this.#showSeries(series);
      this.#showNow(now);
      return;
    }
    fill(this.#page.main, this.#content);
    this.#content = null;
    this.#showSeries(series);
    this.#showNow(now);
  }

  begin() {
    this.#series = new Refresh(this.#page, {
      everyMs: SERIES_EVERY_MS, load: (signal) => this.#loadSeries(signal), show: (found) => this.#arrived("series", found),
    });
    new Refresh(this.#page, { everyMs: NOW_EVERY_MS, load: (signal) => this.#loadNow(signal), show: (found) => this.#arrived("now", found) });
  }

  async #loadSeries(signal) {
    const window = this.#picker.value;
    const [series, minutes, totals, recent, audit, { endpoints }] = await Promise.all([
      ask(address("/timeseries", { window }), { signal }),
      window === "15m" ? null : ask(address("/timeseries", { window: "15m" }), { signal }),
      ask(address("/timeseries/kinds", { window }), { signal }),
      ask(address("/timeseries/kinds", { window: RECENT.window }), { signal }),
      ask(address("/audit", { page_size: 5 }), { signal }),
      this.#page.may(permissions.operate) ? ask("/callback-endpoints", { signal }) : { endpoints: [] },
    ]);
    if (!this.#hasJobs) this.#hasJobs = (await ask(address("/jobs", { page_size: 1 }), { signal })).jobs.length > 0;
    return { series, minutes: minutes ?? series, totals, recent, audit, endpoints };
  }

  async #loadNow(signal) {
    const mine = this.#page.isOfDefaultTenant;
    const ready = await readiness(signal);
    const [{ kinds }, attention, backlog, workers] = await Promise.all([
      ask("/kinds", { signal }),
      ask(address("/attention", { page_size: 3 }), { signal }),
      mine ? ask("/backlog", { signal }) : null,
      mine ? ask("/workers", { signal }) : null,
    ]).catch((problem) => {
      // Without figures the page still says which part is away.
      if (!signal.aborted && faultyParts(ready).length > 0) this.#showFault(ready);
      throw problem;
    });
    return { ready, kinds, attention, backlog, workers: workers?.workers ?? null };
  }

  #showFault(ready) {
    if (this.#content !== null && !this.#page.main.contains(this.#state)) fill(this.#page.main, this.#state);
    this.#showState(ready, faultyParts(ready), this.#newest.now?.workers ?? null);
  }

  #showState(ready, found, workers) {
    const { tone, form, text } = verdict(found);
    if (this.#verdict.textContent !== text) fill(this.#verdict, h("span", { class: `tone-${tone} chip` }, shape(form)), text);
    this.#page.setTitle("Overview", text);
    keyed(this.#findings, found, ({ key }) => key, (one) => h("li", h("span", { class: `tone-${one.tone} chip` }, shape(one.form)), h("span", one.words)));
    this.#findings.hidden = found.length === 0;
    this.#showParts(ready, workers);
  }

  #showSeries({ series, minutes, totals, recent, audit, endpoints }) {
    if (series.window !== this.#picker.value) return;
    Object.assign(this.#newest, { totals, endpoints });
    this.#newest.recent = new Map(recent.kinds.map((one) => [one.kind, one]));
    // An empty system begins with the command; later it stands at the end.
    if (this.#hasJobs) this.#last.append(...this.#first.childNodes);
    else this.#first.append(...this.#last.childNodes);
    this.#plots.show(series);
    for (const [term, of] of [["Accepted per second", acceptedIn], ["Ended per second", endedIn], ["Failed per second", failedIn]]) {
      this.#say(term, rate(rateNow(minutes.points, of)));
    }
    this.#say("Half start within", duration(series.wait.p50_s));
    this.#say("95 % start within", duration(series.wait.p95_s));
    keyed(this.#acts, audit.entries, ({ id }) => id, actLine);
    if (audit.entries.length === 0) fill(this.#acts, h("li", { class: "faint" }, "No operator has changed a job, paused a kind or drained a worker yet."));
  }

  #showNow({ ready, kinds, attention, backlog, workers }) {
    const rows = kindRows({ kinds, backlog, workers, totals: this.#newest.totals });
    const { recent, endpoints } = this.#newest;
    this.#showState(ready, findings({ ready, workers, rows, total: attention.total, recent, endpoints }), workers);
    this.#showQueued(rows);
    this.#table.show(rows);
    this.#showGroups(attention);
    showCount(attention.total);
  }

  #showParts({ parts }, workers) {
    const words = Object.entries(parts).map(([part, state]) => [part, isFine(state) ? ["good", "check", `${partName(part)} ${state}`] : ["bad", "cross", `${partName(part)} not ok`]]);
    if (workers !== null) {
      const { busy, slots } = slotsOf(workers);
      const text = `${plural(workers.length, "worker")}, ${count(busy)} of ${count(slots)} slots busy`;
      words.push(["workers", workers.length > 0 ? ["good", "check", text] : ["bad", "cross", "no worker"]]);
    }
    keyed(this.#parts, words, ([part, [, , text]]) => `${part} ${text}`, ([part, look]) => h("span", { title: partMeaning(part) }, mark(...look)));
  }

  #showQueued(rows) {
    const sum = (of) => rows.map(of).filter((value) => value !== null).reduce((total, value) => (total ?? 0) + value, null);
    const oldest = rows.map((row) => row.oldest).filter(Boolean).sort()[0];
    for (const [term, value] of [["Queued", sum((row) => row.waiting)], ["Running", sum((row) => row.running)]]) this.#say(term, value === null ? "–" : count(value));
    renew(this.#figures.get("Oldest queued"), oldest ?? null, () => (oldest ? time(oldest) : "none"));
  }

  #showGroups({ groups, counted_at: countedAt }) {
    if (groups.length === 0) {
      fill(this.#groups, h("li", { class: "faint" }, countedAt === null ? "Failed jobs have not been counted yet." : "No failed job waits for an operator."));
      return;
    }
    keyed(this.#groups, groups, ({ group, count: jobs, last_at: at }) => `${group} ${jobs} ${at}`, ({ kind, type, message, count: jobs, last_at: at }) => h("li",
      h("div", { class: "side" }, h("a", { href: address("/attention", { kind }) }, `${kind}: ${type}`), h("span", `${plural(jobs, "job")}, last `, time(at))),
      h("div", { class: "faint" }, message.slice(0, 160))));
  }

  #say(term, text) {
    say(this.#figures.get(term), text);
  }
}

export function show(page) {
  page.setTitle("Overview");
  fill(page.main, skeleton(8));
  new Overview(page).begin();
}

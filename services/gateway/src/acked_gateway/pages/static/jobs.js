// The list of jobs: newest first, its filters are the address, and its rows follow the feed in their places.
import { HEADS, JobRow } from "./job_row.js";
import { address, ask, orRefusal } from "./api.js";
import { command, emptyPlace, problemBox, sendCommand, skeleton, table } from "./parts.js";
import { fill, h, say } from "./dom.js";
import { filterBar, filterOf, without } from "./filter_bar.js";
import { actButton } from "./act.js";
import { LiveJobs } from "./live.js";
import { plural } from "./format.js";
import { FINAL, Refresh } from "./refresh.js";
import { Selection } from "./selection.js";

const PAGE = 50;
const MOST_ROWS = 200;
const EVERY_MS = 5000;
const TICK_MS = 1000;

class JobList {
  #page;
  #query;
  #rows = new Map();
  #body = h("tbody");
  #place = h("div", skeleton(8));
  #more = h("div", { class: "row more" });
  #fresh = h("p", { class: "fresh", role: "status" });
  #selection = null;
  #live;
  #token = "";
  #isFirst = true;
  #unshown = 0;
  // Rows whose error is not known yet.
  #incomplete = new Set();
  #isAsking = false;

  constructor(page) {
    this.#page = page;
    this.#query = page.asked;
    this.#live = new LiveJobs(page, (events) => this.#take(events));
    if (Selection.isFor(page)) this.#selection = new Selection(page, () => [...this.#rows.values()], () => this.#token === "" && !this.#query.page_token);
    this.element = h("section", { class: "card", "aria-label": "Jobs" },
      h("div", { class: "list-head" }, this.#fresh, this.#selection?.element), this.#selection?.place, this.#place, this.#more);
  }

  // A page that shows more rows than that would follow too many jobs.
  get #bound() {
    return Number(this.#query.page_size) > MOST_ROWS ? { page_size: MOST_ROWS } : {};
  }

  begin() {
    const refresh = new Refresh(this.#page, { everyMs: EVERY_MS, load: (signal) => this.#load(signal), show: (list) => this.#show(list) });
    const tick = setInterval(() => { for (const row of this.#rows.values()) row.tick(); }, TICK_MS);
    this.#page.signal.addEventListener("abort", () => clearInterval(tick));
    return refresh;
  }

  // The list as the address asks for it, or the problem that the API has with it.
  #load(signal, token = this.#query.page_token) {
    return orRefusal(ask(address("/jobs", { page_size: PAGE, ...this.#query, ...this.#bound, page_token: token }), { signal }));
  }

  #show(list) {
    if (list.problem) {
      this.#refused(list.problem);
      return FINAL;
    }
    if (this.#isFirst) this.#begin(list);
    else this.#goOn(list);
    return null;
  }

  #begin({ jobs, next_page_token: token }) {
    this.#isFirst = false;
    this.#fresh.parentElement.hidden = false;
    this.#unshown = 0;
    this.#rows.clear();
    this.#body.replaceChildren();
    this.#append(jobs, token);
    this.#sayFresh();
  }

  #append(jobs, token) {
    for (const job of jobs) {
      if (this.#rows.has(job.id)) continue;
      const row = new JobRow(job, this.#selection === null ? null : (changed) => this.#selection.change(changed));
      this.#rows.set(job.id, row);
      this.#body.append(row.element);
    }
    this.#token = token;
    if (this.#rows.size === 0 && token === "") fill(this.#place, this.#nothing());
    else if (!this.#place.contains(this.#body)) fill(this.#place, this.#table());
    this.#selection?.clear();
    if (this.#selection !== null) this.#selection.element.hidden = this.#rows.size === 0;
    this.#showMore();
    this.#live.follow(this.#rows.size === 0 ? null : { ids: [...this.#rows.keys()] });
  }

  #table() {
    return table("Jobs, newest first", [...(this.#selection === null ? [] : [this.#selection.box]), ...HEADS], this.#body, "list jobs");
  }

  // A later look at the first page: it completes what is shown. Jobs that are not shown are only counted, so that nothing moves.
  #goOn({ jobs }) {
    const unshown = jobs.filter(({ id }) => !this.#rows.has(id)).length;
    for (const job of jobs) this.#rows.get(job.id)?.update(job);
    if (unshown > 0 && this.#rows.size === 0) {
      this.#isFirst = true;
      this.#begin({ jobs, next_page_token: "" });
      return;
    }
    this.#unshown = unshown;
    this.#sayFresh(unshown === jobs.length && jobs.length >= PAGE);
  }

  #sayFresh(areMore = false) {
    if (this.#unshown === 0) {
      if (this.#fresh.querySelector("button")) fill(this.#fresh);
      if (this.#rows.size > 0) say(this.#fresh, this.#shownWords());
      return;
    }
    const text = `${this.#unshown}${areMore ? "+" : ""} new ${this.#unshown === 1 ? "job" : "jobs"}, show`;
    const known = this.#fresh.querySelector("button");
    if (known) say(known, text);
    else fill(this.#fresh, actButton(text, async () => {
      const list = await this.#load(this.#page.signal);
      if (list.jobs) this.#begin(list);
    }, { class: "small" }));
  }

  #shownWords() {
    const jobs = plural(this.#rows.size, "job");
    return this.#token === "" ? `${jobs}, newest first` : `${jobs} shown, newest first; there are more`;
  }

  #take(events) {
    for (const event of events.values()) {
      const row = this.#rows.get(event.id);
      if (row?.take(event)) this.#incomplete.add(row);
    }
    this.#complete();
  }

  // Events say that a job failed, not why. Asks for one job after the other: as many as there are rows, at most.
  async #complete() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    for (const row of this.#incomplete) {
      this.#incomplete.delete(row);
      try {
        row.update(await ask(`/status/${row.job.id}`, { signal: this.#page.signal }));
      } catch {
        // The next look at the list has it, where the job is among the newest.
      }
    }
    this.#isAsking = false;
  }

  #showMore() {
    if (this.#token === "") { fill(this.#more); return; }
    if (this.#rows.size + PAGE > MOST_ROWS) {
      fill(this.#more, h("a", { class: "button quiet", href: address("/jobs", { ...this.#query, page_token: this.#token }) }, "Older jobs"));
      return;
    }
    fill(this.#more, actButton("More", async () => {
      try {
        const list = await this.#load(this.#page.signal, this.#token);
        if (list.problem) this.#refused(list.problem);
        else this.#append(list.jobs, list.next_page_token);
      } catch (problem) {
        if (!this.#page.signal.aborted) fill(this.#more, problemBox(problem));
      }
    }, { class: "quiet" }));
  }

  #nothing() {
    if (Object.keys(filterOf(this.#page.query)).length > 0) {
      return emptyPlace("No job fits these filters.", h("a", { href: "/jobs" }, "Clear filters"));
    }
    if (this.#query.page_token) return emptyPlace("The list ends here.", h("a", { href: "/jobs" }, "Go to the newest jobs"));
    return h("div", emptyPlace("There are no jobs yet.", "Send the first one:"), sendCommand(this.#page, '{"kind": "demo", "payload": {"seconds": 5}}'));
  }

  #refused(problem) {
    this.#isFirst = true;
    const names = (problem.document.errors ?? []).map(({ pointer }) => pointer).filter((pointer) => pointer?.startsWith("?"));
    fill(this.#fresh);
    fill(this.#more);
    this.#fresh.parentElement.hidden = true;
    if (this.#selection !== null) this.#selection.element.hidden = true;
    fill(this.#place, problemBox(problem), names.map((pointer) => h("p",
      h("a", { class: "button quiet", href: without(this.#page.query, pointer.slice(1)) }, `Remove ${pointer.slice(1)} from the address`))));
  }
}

function exported(page) {
  const query = new URLSearchParams({ ...page.asked, page_size: "1000" });
  return h("details", h("summary", "Export this list as JSON"),
    command(`${page.curl} '${location.origin}/jobs?${String(query).replaceAll("'", "%27")}'`, "Command that exports the list"),
    h("p", { class: "faint small" }, "The response has a next_page_token where there are more: send it as page_token, with the same filters."));
}

export function show(page) {
  const filter = filterOf(page.query);
  const words = Object.entries(filter).map(([name, value]) => (name === "state" ? value : `${name} ${value}`)).join(", ");
  page.setTitle("Jobs", words === "" ? "Jobs" : `Jobs: ${words}`);
  const list = new JobList(page);
  page.main.append(filterBar(page), list.element, exported(page));
  list.begin();
}

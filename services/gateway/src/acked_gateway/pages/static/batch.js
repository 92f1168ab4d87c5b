// One batch: how far it is, what failed in it, and what can be done about all of it.
import { NOT_FOUND, address, ask, batchAddress, orRefusal } from "./api.js";
import { card, emptyPlace, problemBox, sendCommand, skeleton, stateChip, table } from "./parts.js";
import { count, counted, duration, time } from "./format.js";
import { failedState, isAllowed, isTerminal, liveStates, permissions, states } from "./config.js";
import { fill, h, keyed, say } from "./dom.js";
import { BatchEnds } from "./batch_ends.js";
import { BatchUpdates } from "./batch_updates.js";
import { Line } from "./feed.js";
import { Refresh } from "./refresh.js";
import { StateBars } from "./state_bars.js";
import { bulkDialog } from "./bulk.js";

const EVERY_MS = 4000;
const LOOKED_AT = 200;
const TERMS = ["Jobs", "Ended", "Took"];

class BatchView {
  #page;
  #batch;
  #found = null;
  #isLive = false;
  // `isCut`: at most so many are counted in each state; counts of the feed are exact.
  #counts = { total: 0, states: {} };
  #bars = new StateBars();
  #bar = h("progress", { "aria-label": "Ended jobs", max: "1", value: 0 });
  #words = h("p", { role: "status", class: "strong" });
  #times = h("p", { class: "faint" });
  #timesOf = "";
  #figures = Object.fromEntries(TERMS.map((term) => [term, h("dd", "–")]));
  #rows = h("tbody");
  #groups = h("div", skeleton(2));
  #groupsOf = null;
  #acts = h("div", { class: "row acts" });
  #buttons = new Map();
  #occurred = new Set();
  #progress = h("div");
  #ends = new BatchEnds();
  #endsOf = null;
  #isAskingEnds = false;

  constructor(page) {
    this.#page = page;
    this.#batch = page.parameters.batch;
  }

  begin() {
    const { signal } = this.#page;
    new Refresh(this.#page, { everyMs: EVERY_MS, load: (one) => orRefusal(this.#load(one)), show: (found) => this.#show(found) });
    new BatchUpdates(this.#batch, {
      signal,
      show: (counts) => { this.#counts = counts; this.#draw(); },
      tellLine: (line) => {
        this.#isLive = line === Line.LIVE;
        if (line === Line.LIVE) this.#page.heard();
        else if (line === Line.LOST) this.#page.lost();
      },
      tellProblem: () => {},
    });
  }

  async #load(signal) {
    try {
      const found = await ask(batchAddress(this.#batch), { signal });
      const failed = found.states[failedState] ?? 0;
      if (failed !== this.#groupsOf) {
        this.#groupsOf = failed;
        found.failures = failed === 0 ? { jobs: [], next_page_token: "" }
          : await ask(address("/jobs", { batch: this.#batch, state: failedState, page_size: LOOKED_AT }), { signal });
      }
      return found;
    } catch (problem) {
      this.#groupsOf = null;
      throw problem;
    }
  }

  #show(found) {
    if (found.problem) {
      this.#refused(found.problem);
      return;
    }
    const isFirst = this.#found === null;
    this.#found = found;
    if (isFirst) this.#build();
    // While the feed is live its counts are the newer ones.
    if (!this.#isLive || this.#counts.total === 0) this.#counts = { total: found.total, states: found.states, isCut: !found.total_is_exact };
    if (found.failures) fill(this.#groups, this.#failures(found.failures));
    this.#askEnds(JSON.stringify(Object.entries(found.states).filter(([state]) => isTerminal(state))));
    say(this.#figures.Took, duration(found.duration_s));
    if (this.#timesOf !== found.first_at + found.last_at) {
      this.#timesOf = found.first_at + found.last_at;
      fill(this.#times, "First job accepted ", time(found.first_at), ", last one accepted or ended ", time(found.last_at), ". ",
        found.load_test && h("a", { href: address("/load-test", { batch: this.#batch }) }, "Figures of its load test"));
    }
    this.#draw();
  }

  // Beside the counts, which wait for no plot. `ends` are the counts of the states that are an end.
  async #askEnds(ends) {
    if (this.#isAskingEnds || ends === this.#endsOf) return;
    this.#isAskingEnds = true;
    try {
      this.#ends.show(await ask(`${batchAddress(this.#batch)}/ends`, { signal: this.#page.signal }));
      this.#endsOf = ends;
    } catch {
      // The next look at the counts asks again.
    }
    this.#isAskingEnds = false;
  }

  #build() {
    fill(this.#page.main,
      h("section", { class: "card", "aria-label": "Progress" }, this.#words, this.#bar,
        h("dl", { class: "figures" }, TERMS.map((term) => h("div", h("dt", term), this.#figures[term]))), this.#times, this.#acts, this.#progress),
      card("Jobs by state", this.#bars.element, table("Jobs by state", ["State", "Jobs", "Share"], this.#rows, "by-state")),
      card("Over time", this.#ends.element),
      card("Failures by cause", this.#groups),
      h("p", h("a", { href: address("/jobs", { batch: this.#batch }) }, "All jobs of this batch")));
  }

  // From the newest counts, whether they came from the feed or from a request.
  #draw() {
    if (this.#found === null) return;
    const { total, states: byState, isCut = false } = this.#counts;
    const ended = Object.entries(byState).reduce((sum, [state, jobs]) => sum + (isTerminal(state) ? jobs : 0), 0);
    this.#bar.max = Math.max(1, total);
    this.#bar.value = ended;
    const failed = byState[failedState] > 0 ? `, ${count(byState[failedState])} of them failed` : "";
    const jobs = `${counted(total, !isCut)} ${total === 1 ? "job" : "jobs"}`;
    say(this.#words, `${ended === total ? `All ${jobs} ${total === 1 ? "has" : "have"} ended` : `${counted(ended, !isCut)} of ${jobs} have ended`}${failed}${isCut ? ". It has so many jobs that those of a state are counted up to a bound" : ""}`);
    say(this.#figures.Jobs, counted(total, !isCut));
    say(this.#figures.Ended, total === 0 || (isCut && ended !== total) ? "–" : `${Math.floor((100 * ended) / total)} %`);
    this.#page.setTitle(`Batch ${this.#batch}`, `${total === 0 || isCut ? "" : `${Math.floor((100 * ended) / total)} % `}${this.#batch}`);
    this.#bars.show(byState);
    // A state that has occurred keeps its row: queued and running come and go many times a second.
    for (const name of Object.keys(byState)) if (byState[name] > 0) this.#occurred.add(name);
    keyed(this.#rows, states.filter(({ name }) => this.#occurred.has(name)), ({ name }) => name,
      ({ name }) => h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("a", { href: address("/jobs", { batch: this.#batch, state: name }) }, stateChip(name))),
        h("td", { class: "number", "data-label": "Jobs" }), h("td", { class: "number", "data-label": "Share" })),
      (row, { name }) => {
        const jobs = byState[name] ?? 0;
        say(row.children[1], counted(jobs, !isCut));
        say(row.children[2], `${((100 * jobs) / Math.max(1, total)).toFixed(1)} %`);
      });
    this.#drawActs(byState);
  }

  // A button appears when it is of use first; then it stays in its place, and rests while it is of none.
  #offer(label, isOfUse, wanted, look = "quiet") {
    let button = this.#buttons.get(label);
    if (button === undefined && isOfUse) {
      button = h("button", { type: "button", class: look, on: {
        click: () => bulkDialog(this.#page, { title: `${label} of ${this.#batch}`, place: this.#progress, ...wanted }),
      } }, label);
      this.#buttons.set(label, button);
      this.#acts.append(button);
    }
    if (button !== undefined) button.disabled = !isOfUse;
  }

  #drawActs(byState) {
    if (!this.#page.may(permissions.operate)) return;
    const mayRetry = byState[failedState] > 0 && isAllowed("retry", failedState);
    this.#offer("Retry the failed jobs", mayRetry, { action: "retry", filter: { batch: this.#batch, state: failedState } }, "main");
    this.#offer("Resolve the failed jobs", mayRetry, { action: "resolve", filter: { batch: this.#batch, state: failedState } });
    this.#offer("Cancel the rest", liveStates.some((state) => byState[state] > 0), { action: "cancel", filter: { batch: this.#batch } });
  }

  // The causes of the newest failed jobs, the most frequent first.
  #failures({ jobs, next_page_token: token }) {
    if (jobs.length === 0) return emptyPlace("No job of this batch has failed.");
    const groups = new Map();
    for (const job of jobs) {
      const group = job.error?.group ?? "";
      const known = groups.get(group) ?? { group, kind: job.kind, error: job.error, jobs: 0, newest: job.finished_at };
      groups.set(group, { ...known, jobs: known.jobs + 1 });
    }
    const row = ({ group, kind, error, jobs: number, newest }) => h("tr", { "data-row": "" },
      h("th", { scope: "row" }, h("a", { href: address("/jobs", { batch: this.#batch, state: failedState, "error.group": group }) },
        error ? `${error.type}: ${error.message}` : "Without an error")),
      h("td", { "data-label": "Kind" }, kind), h("td", { "data-label": "Jobs", class: "number" }, counted(number, token === "")),
      h("td", { "data-label": "Last" }, time(newest)));
    const sorted = [...groups.values()].sort((a, b) => b.jobs - a.jobs);
    return [token !== "" && h("p", { class: "faint" }, `Of the ${count(jobs.length)} newest failed jobs.`),
      table("Failures by cause", ["Error", "Kind", "Jobs", "Last"], h("tbody", sorted.map(row)), "causes")];
  }

  #refused(problem) {
    this.#found = null;
    this.#buttons.clear();
    this.#occurred.clear();
    fill(this.#acts);
    this.#page.setTitle(`Batch ${this.#batch}`);
    fill(this.#page.main, problem.document.status !== NOT_FOUND ? problemBox(problem)
      : h("section", { class: "card" }, emptyPlace("No job has this batch name.", "The page shows the jobs as soon as there are some. Send one:"),
        sendCommand(this.#page, `{"kind": "demo", "batch": "${this.#batch}"}`)));
  }
}

export function show(page) {
  page.setTitle(`Batch ${page.parameters.batch}`);
  fill(page.main, skeleton(6));
  new BatchView(page).begin();
}

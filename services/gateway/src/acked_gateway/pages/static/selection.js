// Chosen rows of the list of jobs, and what can be done with all of them at once.
import { VERBS, jobsCounted } from "./bulk_words.js";
import { actionsFor, bulkDialog } from "./bulk.js";
import { filterOf } from "./filter_bar.js";
import { h, say } from "./dom.js";
import { parkedStates, permissions } from "./config.js";
import { plural } from "./format.js";

export class Selection {
  #page;
  #rows = new Set();
  #isAll = false;
  #rowsShown;
  #text = h("span", { role: "status" });
  #acts;
  #all;

  // `rowsShown()` returns the rows of the list; `isWhole()` whether they are all that match.
  constructor(page, rowsShown, isWhole) {
    this.#page = page;
    this.#rowsShown = rowsShown;
    this.isWhole = isWhole;
    const { state, waiting_for: awaited } = filterOf(page.query);
    this.#acts = actionsFor(...[state ?? (awaited ? parkedStates : [])].flat()).map((verb) => h("button", {
      type: "button", class: "quiet small", disabled: true, on: { click: () => this.#act(verb) },
    }, VERBS[verb].name));
    this.#all = h("button", { type: "button", class: "quiet small", "aria-pressed": "false", on: { click: () => this.#chooseAll(!this.#isAll) } }, "Choose all that match");
    this.box = h("input", { type: "checkbox", "aria-label": "Choose all shown jobs", on: { change: () => this.#chooseShown(this.box.checked) } });
    this.place = h("div");
    this.element = h("div", { class: "chosen" }, this.#text, this.#all, this.#acts);
    // Bulk actions know no worker: its jobs are others by the time that the action begins.
    this.#all.hidden = page.query.has("worker");
    this.#draw();
  }

  static isFor(page) {
    return page.may(permissions.operate);
  }

  change(row) {
    if (row.box.checked) this.#rows.add(row);
    else this.#rows.delete(row);
    this.#isAll = false;
    this.#draw();
  }

  clear() {
    this.#rows.clear();
    this.#isAll = false;
    this.#draw();
  }

  #chooseShown(isChosen) {
    this.#rows = new Set(isChosen ? this.#rowsShown() : []);
    this.#isAll = false;
    this.#draw();
  }

  #chooseAll(isChosen) {
    this.#isAll = isChosen;
    this.#rows = new Set(isChosen ? this.#rowsShown() : []);
    this.#draw();
  }

  async #act(action) {
    const ids = [...this.#rows].map(({ job }) => job.id);
    const wanted = this.#isAll ? { filter: filterOf(this.#page.query) } : { ids };
    const jobs = this.#isAll ? "all jobs that match" : plural(ids.length, "job");
    const progress = await bulkDialog(this.#page, { ...wanted, action, title: VERBS[action].ask(jobs), place: this.place });
    if (progress !== null) this.clear();
  }

  #draw() {
    const shown = this.#rowsShown();
    for (const row of shown) row.box.checked = this.#rows.has(row);
    const { size } = this.#rows;
    this.box.checked = size > 0 && size === shown.length;
    this.box.indeterminate = size > 0 && size < shown.length;
    this.#all.setAttribute("aria-pressed", String(this.#isAll));
    for (const button of this.#acts) button.disabled = size === 0;
    if (this.#isAll) say(this.#text, `All that match: ${jobsCounted(shown.length, this.isWhole())}`);
    else say(this.#text, size === 0 ? "Choose jobs to act on them" : `${plural(size, "job")} chosen`);
  }
}

// The audit: who asked for what, newest first. The filters are those of the API and stand in the address; entries that come
// meanwhile are announced, so that nothing moves under a reader.
import { address, ask } from "./api.js";
import { actions, sentence } from "./audit_words.js";
import { permissions } from "./config.js";
import { fill, h, keyed } from "./dom.js";
import { plural, time } from "./format.js";
import { emptyPlace, list, problemBox, textField } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 5000;
const TARGETS = { job: "job", bulk_action: "bulk action", kind: "kind" };
const FILTERS = ["action", "client", ...Object.keys(TARGETS), "since", "until"];

function filterForm(query) {
  const field = (name, label, more) => textField(name, label, query.get(name) ?? "", more);
  const chosen = query.get("action") ?? "";
  const target = Object.keys(TARGETS).find((name) => query.get(name));
  const form = h("form", { class: "card row", "aria-label": "Filters" },
    // The API lists what was done to one object whoever did it.
    target !== undefined ? field(target, `Acts on ${TARGETS[target]}`, { "data-filter": "" }) : [
      h("label", "Action", h("select", { name: "action" }, h("option", { value: "" }, "Any"),
        actions.map((action) => h("option", { value: action, selected: action === chosen }, action.replaceAll("_", " "))))),
      field("client", "Client", { "data-filter": "", placeholder: "any" })],
    field("since", "Since", { placeholder: "8d, 1h, or an instant" }), field("until", "Until", { placeholder: "now" }),
    h("button", { type: "submit" }, "Filter"),
    FILTERS.some((name) => query.get(name)) && h("a", { class: "button quiet", href: "/audit" }, "All entries"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(address("/audit", Object.fromEntries(FILTERS.map((name) => [name, form.elements[name]?.value.trim()]))));
  });
  return form;
}

function row(entry) {
  return h("tr", { "data-row": "" }, h("td", { "data-label": "When" }, time(entry.at)),
    h("td", { "data-label": "Who" }, h("a", { href: address("/audit", { client: entry.client }), title: "All entries of this client" }, entry.client),
      entry.token_id !== null && h("span", { class: "faint small" }, " token ", h("code", entry.token_id))),
    h("td", { "data-label": "What" }, sentence(entry)),
    h("td", { "data-label": "Reason" }, entry.reason ?? h("span", { class: "faint" }, "–")));
}

class List {
  #page;
  #asked;
  #shown = null;
  #fresh = h("p", { class: "announced faint", role: "status" });
  #rows = h("tbody");
  #place = h("div");

  constructor(page) {
    this.#page = page;
    this.#asked = Object.fromEntries([...FILTERS, "page_token"].map((name) => [name, page.query.get(name)]));
    fill(page.main, filterForm(page.query), this.#fresh, this.#place);
  }

  // A filter that the gateway refuses is a matter of the form above, which stays.
  async load(signal) {
    try {
      return await ask(address("/audit", this.#asked), { signal });
    } catch (problem) {
      if (signal.aborted || problem.isPassing !== false || problem.document.status !== 422) throw problem;
      return { problem };
    }
  }

  show(found) {
    if (found.problem !== undefined) fill(this.#place, problemBox(found.problem));
    else if (this.#shown === null || (this.#shown.size === 0 && found.entries.length > 0)) this.#render(found);
    else this.#announce(found);
  }

  #announce(found) {
    // Older pages and ended windows get no new entries.
    const fresh = this.#asked.page_token === null ? found.entries.filter(({ id }) => !this.#shown.has(id)).length : 0;
    if (fresh === 0 || this.#fresh.dataset.fresh === String(fresh)) return;
    this.#fresh.dataset.fresh = fresh;
    fill(this.#fresh, h("button", { type: "button", class: "quiet small", on: { click: () => this.#render(found) } },
      `Show ${plural(fresh, "new entry", "new entries")}`));
  }

  #render(found) {
    const { entries, next_page_token: next } = found;
    this.#shown = new Set(entries.map(({ id }) => id));
    delete this.#fresh.dataset.fresh;
    fill(this.#fresh, this.#asked.page_token !== null && h("a", { href: address("/audit", { ...this.#asked, page_token: null }) }, "Back to the newest entries"),
      this.#asked.page_token === null && entries.length > 0 && `${plural(entries.length, "entry", "entries")}${next === "" ? "" : " shown"}, newest first`);
    if (entries.length === 0) {
      fill(this.#place, this.#empty());
      return;
    }
    keyed(this.#rows, entries, ({ id }) => id, row);
    if (!this.#place.contains(this.#rows)) fill(this.#place, h("div", { class: "card" }, list("Acts of operators, newest first", [["When"], ["Who"], ["Act"], ["Reason"]], this.#rows, "hanging"),
      next !== "" && h("p", h("a", { href: address("/audit", { ...this.#asked, page_token: next }) }, "Older entries"))));
  }

  #empty() {
    if (FILTERS.some((name) => this.#asked[name])) return emptyPlace("No entry fits these filters.", h("a", { href: "/audit" }, "Show all entries"));
    return emptyPlace("No operator has done anything yet.", "An entry is written before each cancel, retry, pause, drain or bulk action.",
      this.#page.may(permissions.operate) ? h("a", { href: "/jobs" }, "Go to the jobs") : "Your token only reads: it can't make entries.");
  }
}

export function show(page) {
  page.setTitle("Audit");
  const list = new List(page);
  new Refresh(page, { everyMs: EVERY_MS, load: (signal) => list.load(signal), show: (found) => list.show(found) });
}

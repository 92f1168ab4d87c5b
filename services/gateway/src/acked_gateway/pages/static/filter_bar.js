// The filters of the list of jobs. They are the query of the address: a link to the page is a link to the list.
import { address, ask, jobAddress } from "./api.js";
import { stateLinks, textField } from "./parts.js";
import { states } from "./config.js";
import { h } from "./dom.js";

export const FILTERS = ["state", "kind", "batch", "tag", "error.group", "since", "until", "worker", "waiting_for"];
const ID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const PAIR = /^(state|kind|batch|tag|error\.group|group|since|until|worker|waiting_for)[:=](.+)$/;
const FIELDS = [
  ["kind", "Kind", "mail", "kinds"], ["batch", "Batch", "nightly", "batches"], ["tag", "Tag", "customer-7", null],
  ["worker", "Running on worker", "worker-1", null], ["waiting_for", "Waits for", "signal:paid, or sleep", "waits"], ["error.group", "Error group", "1b7c1f0c2f6c1f9d3", null], ["since", "Accepted since", "15m, 24h, or 2026-01-31T08:00:00Z", "times"],
  ["until", "Accepted before", "1h", "times"],
];
const TIMES = ["15m", "1h", "24h", "8d"];
const WAITS = ["signal:", "sleep"];

// The filters of a query, without empty values and without the place in the list.
export const filterOf = (query) => Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]).filter(([, value]) => value));

const listAddress = (filter) => address("/jobs", filter);

// The same address without one parameter.
export function without(query, name) {
  const rest = [...query].filter(([one]) => one !== name && one !== "page_token");
  return address("/jobs", Object.fromEntries(rest));
}

// What a person means by a text: the job of an id, filters as `kind:mail`, else a kind or a batch by the first letters of its name.
function meaning(text, filter, known) {
  if (ID.test(text)) return jobAddress(text.toLowerCase());
  const words = text.split(/\s+/).map((word) => PAIR.exec(word));
  if (words.every((match) => match !== null)) {
    return listAddress({ ...filter, ...Object.fromEntries(words.map(([, name, value]) => [name === "group" ? "error.group" : name, value])) });
  }
  if (states.some(({ name }) => name === text)) return listAddress({ ...filter, state: text });
  if (known.kinds.includes(text)) return listAddress({ ...filter, kind: text });
  const batch = known.batches.find((name) => name === text) ?? known.batches.find((name) => name.startsWith(text));
  return listAddress({ ...filter, batch: batch ?? text });
}

const field = (filter, [name, label, hint, list]) => textField(name, label, filter[name] ?? "", { placeholder: hint, list: list === null ? null : `list-${list}` });

const chip = (query, name, value) => h("li", h("a", { href: without(query, name), title: `Remove the filter ${name}` },
  `${name}: ${value}`, h("span", { "aria-hidden": "true" }, " ×"), h("span", { class: "unseen" }, " (remove)")));

const options = (name, values) => h("datalist", { id: `list-${name}` }, values.map((value) => h("option", { value })));

export function filterBar(page) {
  const filter = filterOf(page.query);
  const known = { kinds: [], batches: [] };
  const lists = h("div", options("times", TIMES), options("waits", WAITS));
  const find = h("input", {
    type: "search", "data-filter": "", placeholder: "An id, a batch, a kind, or tag:customer-7", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
  });
  const go = (text) => { if (text !== "") location.assign(meaning(text, filter, known)); };
  find.addEventListener("input", () => { if (ID.test(find.value.trim())) go(find.value.trim()); });
  const search = h("form", { role: "search", class: "row" }, h("label", { class: "wide" }, "Find jobs", find),
    h("button", { type: "submit", class: "quiet" }, "Find"));
  search.addEventListener("submit", (event) => { event.preventDefault(); go(find.value.trim()); });
  const form = h("form", { class: "row", "aria-label": "Filters" }, FIELDS.map((one) => field(filter, one)),
    h("button", { type: "submit" }, "Apply"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
    location.assign(listAddress({ ...filter, ...given }));
  });
  const given = Object.entries(filter).filter(([name]) => name !== "state");
  suggest(page, known, lists);
  return h("section", { class: "card stack", "aria-label": "Filters" }, search, stateLinks(filter.state, (state) => listAddress({ ...filter, state })),
    given.length > 0 && h("ul", { class: "choices" }, given.map(([name, value]) => chip(page.query, name, value)),
      given.length > 1 && h("li", h("a", { href: listAddress({ state: filter.state }) }, "Clear filters"))),
    h("details", { open: page.hash.filters === "open", on: { toggle: (event) => page.setHash({ filters: event.target.open ? "open" : null }) } },
      h("summary", "More filters"), form), lists);
}

// Suggestions are a help: without them the fields work as well.
function suggest(page, known, lists) {
  const load = async (name, path, names) => {
    try {
      known[name] = names(await ask(path, { signal: page.signal }));
      lists.append(options(name, known[name]));
    } catch {
      // The list itself says that the gateway does not respond.
    }
  };
  load("kinds", "/kinds", ({ kinds }) => kinds.map(({ kind }) => kind));
  load("batches", "/batches?page_size=50", ({ batches }) => batches.map(({ batch }) => batch));
}

// What waits for a person: failed jobs by cause, that with the newest failure first.
import { address, ask } from "./api.js";
import { GroupCard } from "./attention_card.js";
import { hasEnded } from "./bulk_words.js";
import { fill, h, keyed, say } from "./dom.js";
import { plural, time } from "./format.js";
import { emptyPlace, sendCommand, skeleton } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 2500;
const PAGE = 50;
const MOST_CARDS = 200;
const RECENT_ACTIONS = 20;
const EXAMPLE = '{"kind": "flaky", "payload": {"failures": 9}, "max_attempts": 1}';

class Attention {
  #page;
  #isSnoozed;
  #seen;
  #cards = new Map();
  #size;
  #refresh;
  #newest = null;
  #isAsking = false;
  #lastly = h("span");
  #lead = h("p", { class: "lead", role: "status" });
  #waiting = h("button", { type: "button", class: "quiet small", hidden: true });
  #list = h("div", { class: "groups" });
  #empty = h("div", { hidden: true });
  #more = h("button", { type: "button", class: "quiet", hidden: true }, "Show more");

  constructor(page) {
    this.#page = page;
    this.#isSnoozed = page.query.get("snoozed") === "true";
    this.#size = Math.min(Number(page.query.get("page_size")) || PAGE, MOST_CARDS);
    this.#seen = new Seen(page);
    this.#waiting.addEventListener("click", () => this.#show(this.#newest, true));
    this.#more.addEventListener("click", () => { this.#size = Math.min(this.#size + PAGE, MOST_CARDS); this.#refresh.now(); });
    fill(page.main, this.#bar(), h("div", { class: "row lead-row" }, this.#lead, this.#waiting), this.#list, this.#empty, this.#more);
    fill(this.#list, skeleton(6));
    this.#refresh = new Refresh(page, { everyMs: EVERY_MS, load: (signal) => this.#load(signal), show: (found) => this.#show(found) });
  }

  // The two tabs, and the filter.
  #bar() {
    const kind = this.#page.query.get("kind") ?? "";
    const tab = (label, snoozed) => h("a", { href: address("/attention", { kind, snoozed }), "aria-current": (snoozed === "true") === this.#isSnoozed ? "page" : null }, label);
    const names = h("datalist", { id: "kinds" });
    const field = h("input", { name: "kind", type: "search", value: kind, list: "kinds", "data-filter": "", autocomplete: "off", placeholder: "all kinds", autocapitalize: "none", spellcheck: "false" });
    const form = h("form", { class: "row filter", role: "search" }, h("label", "Kind", field, names), h("button", { type: "submit", class: "quiet" }, "Filter"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      location.assign(address("/attention", { kind: field.value.trim(), snoozed: this.#isSnoozed ? "true" : null }));
    });
    ask("/kinds", { signal: this.#page.signal }).then(({ kinds }) => fill(names, kinds.map((one) => h("option", { value: one.kind }))), () => {});
    return h("div", { class: "bar" }, h("nav", { class: "tabs", "aria-label": "Groups" }, tab("Open", null), tab("Snoozed", "true")), form);
  }

  async #load(signal) {
    const wanted = { ...this.#page.asked, page_size: this.#size };
    const [attention, { bulk_actions: actions }] = await Promise.all([
      ask(address("/attention", wanted), { signal }), ask(address("/bulk-actions", { page_size: RECENT_ACTIONS }), { signal })]);
    return { ...attention, actions };
  }

  // While somebody reads the list, known groups stay in their places, and new ones wait until they are asked for.
  #show(found, isAsked = false) {
    this.#newest = found;
    const { groups, counted_at: countedAt } = found;
    const isRead = !isAsked && this.#cards.size > 0 && this.#list.matches(":hover, :focus-within");
    const listed = new Map(groups.map((group) => [group.group, group]));
    const held = [...this.#cards.values()].filter((card) => !listed.has(card.group.group) && card.isBusy(countedAt)).map((card) => card.group);
    const known = [...this.#cards.values()].filter((card) => listed.has(card.group.group)).map((card) => listed.get(card.group.group));
    const fresh = groups.filter((group) => !this.#cards.has(group.group));
    this.#place(isRead ? [...this.#inPlace([...known, ...held])] : [...held, ...groups]);
    for (const action of found.actions) if (!hasEnded(action)) this.#cards.get(action.filter?.["error.group"])?.followAction(action);
    this.#waiting.hidden = !isRead || fresh.length === 0;
    say(this.#waiting, `Show ${plural(fresh.length, "new group")}`);
    this.#more.hidden = found.next_page_token === "" || this.#size >= MOST_CARDS;
    this.#say(found);
    if (countedAt !== null && !this.#isSnoozed) this.#seen.upTo(countedAt);
  }

  // In the order in which they stand on the page.
  #inPlace(groups) {
    const at = new Map([...this.#list.children].map((element, place) => [element.dataset.key, place]));
    return groups.sort((one, other) => at.get(one.group) - at.get(other.group));
  }

  #place(groups) {
    const stay = new Set(groups.map(({ group }) => group));
    const lost = [...this.#list.children].findIndex((element) => element.contains(document.activeElement) && !stay.has(element.dataset.key));
    keyed(this.#list, groups, ({ group }) => group, (group) => {
      const card = new GroupCard(this.#page, group, { changed: () => this.#refresh.now() });
      this.#cards.set(group.group, card);
      return card.element;
    }, (_, group) => this.#cards.get(group.group).show(group, this.#seen.before));
    for (const name of [...this.#cards.keys()]) if (!stay.has(name)) this.#cards.delete(name);
    // The group that had the focus is gone: the next one gets it.
    if (lost >= 0) (this.#cards.get(groups[Math.min(lost, groups.length - 1)]?.group) ?? this.#page.main).focus();
  }

  #say({ groups, counted_at: countedAt, next_page_token: next, is_complete: isComplete }) {
    const kind = this.#page.query.get("kind");
    const number = `${groups.length}${next === "" ? "" : "+"}`;
    this.#page.setTitle("Attention", groups.length === 0 || this.#isSnoozed ? "Attention" : `(${number}) Attention`);
    const isNew = this.#seen.before === null ? 0 : groups.filter(({ first_at: at }) => at > this.#seen.before).length;
    say(this.#lead, countedAt === null || this.#cards.size === 0 ? "" : [
      `${number} ${groups.length === 1 ? "group" : "groups"} of failed jobs${kind ? ` of the kind ${kind}` : ""}${this.#isSnoozed ? ", snoozed" : ""}.`,
      isNew > 0 && !this.#isSnoozed ? `${isNew} new since your last visit.` : "",
      isComplete ? "" : "There are more groups than the 1,000 that are counted.",
      next !== "" && this.#size >= MOST_CARDS ? "The newest 200 are shown: filter by kind to see others." : "",
    ].filter(Boolean).join(" "));
    this.#showEmpty(countedAt);
  }

  #showEmpty(countedAt) {
    const state = this.#cards.size > 0 ? "none" : countedAt === null ? "uncounted" : "empty";
    if (state === "empty" && !this.#isSnoozed) this.#sayLast();
    if (this.#empty.dataset.shown === state) return;
    this.#empty.dataset.shown = state;
    this.#empty.hidden = state === "none";
    if (state === "uncounted") fill(this.#empty, emptyPlace("Not counted yet.", "The services count failed jobs every few seconds."));
    else if (this.#isSnoozed) fill(this.#empty, emptyPlace("No group is snoozed.", h("a", { href: "/attention" }, "Show the open groups")));
    else if (state === "empty") this.#showWell();
  }

  #showWell() {
    const kind = this.#page.query.get("kind");
    fill(this.#empty, h("div", { class: "card" }, kind
      ? emptyPlace(`No failed job of the kind ${kind} waits for you.`, this.#lastly, h("a", { href: "/attention" }, "Show all kinds"))
      : emptyPlace("All is well: no failed job waits for you.", this.#lastly),
      h("details", { class: "small" }, h("summary", "See what a failure looks like"), h("p", "This job fails permanently at its first attempt:"),
        sendCommand(this.#page, EXAMPLE))));
  }

  // Asked for with each look: workers write the minutes after the jobs, and the gateway may be busy.
  async #sayLast() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const kind = this.#page.query.get("kind");
    const points = await ask(address("/timeseries", { window: "24h", kind }), { signal: this.#page.signal }).then((found) => found.points, () => null);
    this.#isAsking = false;
    const at = points?.findLast(({ failed }) => failed > 0)?.at;
    if (points === null || this.#lastly.dataset.shown === String(at)) return;
    this.#lastly.dataset.shown = at;
    fill(this.#lastly, at === undefined ? `No job${kind ? ` of the kind ${kind}` : ""} failed in the last 24 hours.` : ["The last failure was in the ten minutes after ", time(at), "."]);
  }
}

// Since when groups are new to this person, in this browser: what was counted when they were here before.
class Seen {
  #key;
  #newest = null;

  constructor(page) {
    this.#key = `acked.attention.${page.own.tenant}.${page.own.client}`;
    this.before = localStorage.getItem(this.#key);
    page.signal.addEventListener("abort", () => { if (this.#newest !== null) localStorage.setItem(this.#key, this.#newest); });
  }

  upTo(at) {
    this.#newest = at;
  }
}

export function show(page) {
  page.setTitle("Attention");
  new Attention(page);
}

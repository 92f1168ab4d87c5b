// The table of kinds: what waits, runs and fails of each, who serves it, whether it is paused or limited.
import { address, kindAddress } from "./api.js";
import { failedState, queuedState, runningState } from "./config.js";
import { h, keyed, renew, say } from "./dom.js";
import { count, limitWords, time } from "./format.js";
import { pauseButton } from "./kind_acts.js";
import { list, mark } from "./parts.js";
import { failureShare } from "./counts.js";

const MOST_ROWS = 200;
const NONE = { states: {}, oldest_queued_at: null };

// What is known of each kind, by name. Null figures are those that other tenants are not told.
export function kindRows({ kinds, backlog, workers, totals }) {
  const counted = new Map((backlog?.kinds ?? []).map((one) => [one.kind, one]));
  const added = new Map(totals.kinds.map((one) => [one.kind, one]));
  return kinds.map((one) => {
    const { states, oldest_queued_at: oldest } = counted.get(one.kind) ?? NONE;
    const known = backlog?.counted_at != null;
    const of = (state) => (known ? states[state] ?? 0 : null);
    return {
      kind: one.kind, paused: one.paused, limit: one.limit, oldest,
      waiting: of(queuedState), running: of(runningState), failed: of(failedState),
      workers: workers === null ? null : workers.filter(({ kinds: served }) => served.includes(one.kind)).length,
      totals: added.get(one.kind),
    };
  });
}

const figureOf = (value) => (value === null ? "–" : count(value));
const listOf = (kind, state) => address("/jobs", { kind, state });

export class KindTable {
  #page;
  #body = h("tbody");
  #place = h("div");
  #done;

  // `done` is called after a pause or a resume; without it there are no buttons.
  constructor(page, caption, done = null) {
    this.#page = page;
    this.#done = done;
    const heads = [["Kind"], ["Queued", true], ["Oldest"], ["Running", true], ["Failed", true], ["Workers", true], ["Failure share", true], ["State"]];
    this.element = h("div", this.#place, list(caption, heads, this.#body, "kinds"));
  }

  show(rows) {
    keyed(this.#body, rows.slice(0, MOST_ROWS), ({ kind }) => kind, (row) => this.#make(row), (element, row) => this.#update(element, row));
  }

  #make({ kind }) {
    const cell = (label, isNumber) => h("td", { "data-label": label, class: isNumber ? "number" : null });
    return h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("a", { href: kindAddress(kind), class: "strong" }, kind)),
      cell("Queued", true), cell("Oldest"), cell("Running", true), cell("Failed", true), cell("Workers", true), cell("Failure share", true), h("td", h("div", { class: "row center" })));
  }

  #update(element, row) {
    const [, waiting, oldest, running, failed, workers, share, state] = element.children;
    const linked = (cell, value, name) => renew(cell, value, () => (value ? h("a", { href: listOf(row.kind, name) }, count(value)) : figureOf(value)));
    linked(waiting, row.waiting, queuedState);
    renew(oldest, row.oldest, () => time(row.oldest));
    linked(running, row.running, runningState);
    linked(failed, row.failed, failedState);
    say(workers, figureOf(row.workers));
    say(share, failureShare(row.totals));
    renew(state.firstElementChild, [row.paused, row.limit, row.workers === 0], () => [stateOf(row), limitOf(row), this.#done && pauseButton(this.#page, row, this.#place, this.#done)]);
  }
}

function stateOf({ paused, workers, kind }) {
  if (paused !== null) return h("span", { title: pausedWords({ kind, paused }) }, mark("later", "bar", "paused"));
  return workers === 0 ? mark("off", "cross", "no worker") : mark("good", "check", "open");
}

const limitOf = ({ kind, limit }) => (limit === null ? null : h("span", { class: "small", title: limitSentence({ kind, limit }) }, `limit: ${limitWords(limit)}`));

// Who limited it and why, as a sentence without its time.
export const limitSentence = ({ kind, limit }) => `${kind} is limited to ${limitWords(limit)} by ${limit.client}${limit.reason === null ? "" : `: ${limit.reason}`}`;

// Who paused it and why, as a sentence without its time.
export const pausedWords = ({ kind, paused }) => `${kind} is paused by ${paused.client}${paused.reason === null ? "" : `: ${paused.reason}`}`;

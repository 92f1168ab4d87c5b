// All bulk actions of the last 30 days, newest first.
import { address, ask, bulkAddress } from "./api.js";
import { VERBS, bulkChip, filterWords, hasEnded, jobsAddress, jobsCounted, tallyWords } from "./bulk_words.js";
import { fill, h, keyedParts, say } from "./dom.js";
import { plural, time } from "./format.js";
import { emptyPlace, skeleton, table } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 2000;
const HEADS = ["Action", "State", "Jobs", "Progress", "By", "Asked"];

// Which jobs an action is for, with a link to those that match now.
export const choiceOf = (action) => (action.filter ? h("a", { href: jobsAddress(action.filter) }, filterWords(action.filter)) : `${plural(action.ids, "job")} by id`);

const cell = (at, ...children) => h("td", { "data-label": HEADS[at] }, children);

class Row {
  #chip = h("span");
  #tally = h("span");
  #bar = h("progress", { max: "1", "aria-label": "Progress" });

  constructor(action) {
    this.element = h("tr", { "data-row": "" },
      h("th", { scope: "row", "data-label": HEADS[0] }, h("a", { class: "nowrap", href: bulkAddress(action.id) }, `${VERBS[action.action]?.name ?? action.action} ${jobsCounted(action.matched, action.matched_is_exact)}`)),
      cell(1, this.#chip), cell(2, choiceOf(action)), cell(3, this.#bar, this.#tally),
      cell(4, action.by.client, action.reason && h("div", { class: "faint small" }, h("q", action.reason))), cell(5, time(action.asked_at)));
  }

  show(action) {
    if (this.#chip.textContent !== action.state) fill(this.#chip, bulkChip(action));
    say(this.#tally, tallyWords(action));
    this.#bar.hidden = hasEnded(action);
    if (action.progress === null) this.#bar.removeAttribute("value");
    else this.#bar.value = action.progress;
  }
}

export function show(page) {
  page.setTitle("Bulk actions");
  const body = h("tbody");
  const list = h("div", { class: "card", hidden: true }, table("Bulk actions, newest first", HEADS, body, "list hanging"));
  const empty = h("div", { hidden: true }, emptyPlace("No bulk action in the last 30 days.",
    h("span", "Retry a whole group under ", h("a", { href: "/attention" }, "Attention"), ", or act on all that match a filter in the ", h("a", { href: "/jobs" }, "list of jobs"), ".")));
  const older = h("a", { class: "button quiet", hidden: true }, "Older ones");
  const waits = skeleton(6);
  fill(page.main, waits, list, empty, older);

  new Refresh(page, {
    everyMs: EVERY_MS,
    load: (signal) => ask(address("/bulk-actions", page.asked), { signal }),
    show: ({ bulk_actions: actions, next_page_token: next }) => {
      waits.remove();
      list.hidden = actions.length === 0;
      empty.hidden = actions.length > 0;
      older.hidden = next === "";
      older.href = address("/bulk-actions", { ...page.asked, page_token: next });
      keyedParts(body, actions, ({ id }) => id, (action) => new Row(action));
    },
  });
}

// One command for many jobs: the question with its preview, and the progress until the end.
//
//   const progress = await bulkDialog(page, { action: "retry", filter: { "error.group": group }, title: "Retry the group", place });
//   if (progress !== null) { const ended = await progress.ended; … }
import { ask, bulkAddress, jobAddress, send } from "./api.js";
import { actButton, carryOut, notice, question } from "./act.js";
import { VERBS, bulkChip, filterWords, hasEnded, jobsAddress, jobsCounted, nameOf, tallyWords } from "./bulk_words.js";
import { isAllowed, resolvedAs } from "./config.js";
import { fill, h, say } from "./dom.js";
import { count, shortId, time } from "./format.js";
import { emptyPlace, problemBox, skeleton } from "./parts.js";
import { FINAL, Refresh } from "./refresh.js";

const PATH = "/bulk-actions";
const EVERY_MS = 1000;
const SHOWN_AT_ONCE = 5;
const MOST_CHARS = 1000;

// The actions that can move jobs in one of `states`; each one where no state is named.
export const actionsFor = (...states) => Object.keys(VERBS).filter((verb) => states.length === 0 || states.some((state) => isAllowed(verb, state)));

// Asks what to do with many jobs, shows which ones a dry run finds, and starts the action. Resolves to its BulkProgress,
// whose element is then in `place` (default: the top of the page), or to null where the person leaves the dialog.
//
// - `filter`, by the names of the API, or `ids` (at most 10,000): which jobs.
// - `action`: what to do; without it the person chooses from `actions` (default: what the states of the filter allow).
// - `title` of the dialog; `about`: elements or texts that say what these jobs have in common.
export function bulkDialog(page, wanted) {
  return new Promise((resolve) => { new BulkQuestion(page, wanted, resolve).open(); });
}

class BulkQuestion {
  #page;
  #wanted;
  #jobs;
  #plan = null;
  #asked = new AbortController();
  #started = null;
  #preview = h("div", { class: "preview", role: "status" });
  #effect = h("p");
  #trouble = h("div");
  #confirm = h("button", { type: "submit", disabled: true }, "Preview …");
  #leave = h("button", { type: "button", class: "quiet", on: { click: () => this.#dialog.close() } });
  #verb;
  #end = endFields();
  #form;
  #dialog;

  constructor(page, wanted, resolve) {
    const { action, filter, ids, title = "Act on many jobs", about = [] } = wanted;
    const actions = action ? [action] : wanted.actions ?? actionsFor(...[filter?.state ?? []].flat());
    this.#page = page;
    this.#wanted = wanted;
    this.#jobs = ids ? { ids } : { filter };
    this.#verb = h("select", { name: "action" }, actions.map((verb) => h("option", { value: verb }, VERBS[verb].name)));
    this.#form = h("form", { method: "dialog" }, h("h2", { id: "bulk-title" }, title),
      [about].flat().map((line) => (line instanceof Node ? line : h("p", line))),
      actions.length > 1 ? h("label", "What to do", this.#verb) : null, this.#effect, this.#end, this.#preview,
      h("div", { class: "row" },
        h("label", "Jobs a second, at most", h("input", { name: "rate", type: "number", min: "0.1", max: "1000", step: "any", placeholder: "no limit", inputmode: "decimal" })),
        h("label", "Reason, for the audit", h("input", { name: "reason", maxlength: MOST_CHARS, autocomplete: "off", placeholder: "optional" }))),
      this.#trouble,
      h("div", { class: "row end" },
        this.#leave, this.#confirm));
    this.#dialog = h("dialog", { class: "wide", "aria-labelledby": "bulk-title" }, this.#form);
    this.#verb.addEventListener("change", () => this.#look());
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#start(); });
    const before = document.activeElement;
    this.#dialog.addEventListener("close", () => {
      this.#asked.abort();
      this.#dialog.remove();
      before?.focus?.();
      resolve(this.#started);
    });
  }

  open() {
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#look();
    // The browser gave the focus to a field far below, where the buttons covered it.
    this.#form.querySelector(":is(select, textarea, input):enabled")?.focus();
  }

  // Previews the chosen action.
  async #look() {
    const verb = this.#verb.value;
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    this.#plan = null;
    this.#confirm.disabled = true;
    this.#confirm.classList.toggle("danger", VERBS[verb].isDangerous === true);
    say(this.#confirm, "Preview …");
    say(this.#leave, VERBS[verb] === VERBS.cancel ? "Back" : "Cancel");
    say(this.#effect, VERBS[verb].effect);
    this.#end.hidden = this.#end.disabled = VERBS[verb] !== VERBS.resolve;
    fill(this.#preview, skeleton());
    fill(this.#trouble);
    try {
      const found = await send(PATH, { ...this.#body(verb), dry_run: true }, { signal });
      this.#plan = found.plan;
      fill(this.#preview, previewOf(found, this.#jobs.filter));
      say(this.#confirm, VERBS[verb].ask(jobsCounted(found.count, found.count_is_exact)));
      this.#confirm.disabled = found.count === 0;
    } catch (problem) {
      if (signal.aborted) return;
      fill(this.#preview);
      fill(this.#trouble, problemBox(problem));
    }
  }

  #body(verb, resolution = { state: resolvedAs[0] }) {
    return { action: verb, ...this.#jobs, ...(VERBS[verb] === VERBS.resolve && { resolution }) };
  }

  async #start() {
    if (this.#confirm.disabled || this.#plan === null) return;
    const { rate, reason, ...end } = Object.fromEntries(new FormData(this.#form));
    let body;
    try {
      body = { ...this.#body(this.#verb.value, resolutionOf(end)), plan: this.#plan };
    } catch (error) {
      fill(this.#trouble, h("p", { class: "trouble", role: "alert" }, error.message));
      return;
    }
    if (rate !== "") body.rate_per_s = Number(rate);
    if (reason.trim() !== "") body.reason = reason.trim();
    this.#confirm.disabled = true;
    const action = await carryOut(PATH, body, { done: (started) => `${nameOf(started)} has started`, place: this.#trouble, signal: this.#page.signal });
    this.#confirm.disabled = false;
    if (action === null) return;
    this.#started = new BulkProgress(this.#page, action);
    const { place } = this.#wanted;
    if (place) fill(place, this.#started.element);
    else this.#page.main.prepend(this.#started.element);
    this.#dialog.close();
  }
}

// How a resolve ends its jobs.
function endFields() {
  return h("fieldset", { hidden: true, disabled: true }, h("legend", "How the jobs end"),
    h("label", "State", h("select", { name: "state" }, resolvedAs.map((state) => h("option", { value: state }, state)))),
    h("label", "Result for each job, as JSON", h("textarea", { name: "result", class: "low", spellcheck: "false", placeholder: "none" })),
    h("label", "Note", h("input", { name: "note", maxlength: MOST_CHARS, autocomplete: "off", placeholder: "optional" })));
}

function resolutionOf({ state, result = "", note = "" }) {
  const resolution = { state };
  if (note.trim() !== "") resolution.note = note.trim();
  if (result.trim() === "") return resolution;
  try {
    return { ...resolution, result: JSON.parse(result) };
  } catch (error) {
    throw new Error(`The result is no JSON: ${error.message}. Texts need quotes.`);
  }
}

const example = ({ id, kind, state, error }) => h("li", h("a", { href: jobAddress(id), target: "_blank", title: id }, shortId(id)), " ",
  h("span", { class: "faint" }, kind), " ", error === null ? state : error.message || error.type);

function previewOf({ count: number, count_is_exact: isExact, examples, planned_at: plannedAt }, filter) {
  if (number === 0) return emptyPlace("No job matches.", "Nothing would change.");
  const [first, rest] = [examples.slice(0, SHOWN_AT_ONCE), examples.slice(SHOWN_AT_ONCE)];
  return [
    h("p", { class: "strong" }, `${jobsCounted(number, isExact)}: `, filter ? h("a", { href: jobsAddress(filter), target: "_blank" }, filterWords(filter)) : "the chosen ones"),
    h("ul", { class: "examples", "aria-label": "The oldest of them" }, first.map(example)),
    rest.length > 0 && h("details", h("summary", `${count(rest.length)} more examples`), h("ul", { class: "examples" }, rest.map(example))),
    h("p", { class: "faint small" }, "As of ", time(plannedAt), ". Jobs that come or fail later are not touched."),
  ];
}

// One action, asked for once a second until it has ended. `element` shows it; `ended` resolves to its last state.
export class BulkProgress {
  #page;
  #action;
  #bar = h("progress", { max: "1" });
  #chip = h("span");
  #tally = h("p", { class: "small tally" });
  #trouble = h("div");
  #abort;

  // `whenSeen` gets each newer state. `isAlone`: the page is that of the action, and leads to it no more.
  constructor(page, action, { whenSeen = () => {}, isAlone = false } = {}) {
    this.#page = page;
    this.#abort = actButton("Abort", () => this.#end(), { class: "quiet small" });
    this.#bar.setAttribute("aria-label", nameOf(action));
    this.element = h("div", { class: "bulk", role: "group", "aria-label": nameOf(action) },
      h("p", { class: "bulk-head" }, !isAlone && h("a", { href: bulkAddress(action.id) }, nameOf(action)), this.#chip, this.#abort),
      this.#bar, this.#tally, this.#trouble);
    this.#show(action);
    this.ended = new Promise((resolve) => {
      new Refresh(page, {
        everyMs: EVERY_MS,
        load: (signal) => ask(bulkAddress(action.id), { signal }),
        show: (found) => {
          this.#show(found);
          whenSeen(found);
          if (!hasEnded(found)) return null;
          resolve(found);
          return FINAL;
        },
      });
    });
    if (!hasEnded(action)) this.ended.then((found) => notice(`${nameOf(found)}: ${found.state}, ${tallyWords(found)}`));
  }

  get action() {
    return this.#action;
  }

  #show(action) {
    this.#action = action;
    const share = hasEnded(action) ? 1 : action.progress;
    if (share === null) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    if (this.#chip.textContent !== action.state) fill(this.#chip, bulkChip(action));
    say(this.#tally, tallyWords(action));
    this.#abort.hidden = hasEnded(action) || action.abort_requested_at !== undefined || !this.#page.may("operate");
  }

  async #end() {
    const sure = await question({
      title: `Abort the ${nameOf(this.#action).toLowerCase()}?`, text: "Jobs that it has moved stay as they are. The others stay unchanged.",
      confirm: "Abort it", isDangerous: true,
    });
    if (sure === null) return;
    const action = await carryOut(`${bulkAddress(this.#action.id)}/abort`, undefined, { done: "Asked to abort", place: this.#trouble, signal: this.#page.signal });
    if (action !== null) this.#show(action);
  }
}

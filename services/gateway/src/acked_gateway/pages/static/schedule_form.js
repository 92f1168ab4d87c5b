// The form of a schedule, new or edited, in a dialog: it shows when the schedule would be due before it is saved.
import { address, ask, scheduleAddress, send } from "./api.js";
import { notice, question } from "./act.js";
import { fill, h } from "./dom.js";
import { time } from "./format.js";
import { checkedJson, withPayload, written } from "./json_text.js";
import { textField } from "./parts.js";
import { OVERLAPS, UNITS, inUnits } from "./schedule_words.js";

const LOOK_AFTER_MS = 400;
const PREVIEWED = 5;
const PAGE = 200;
// As the API has them where a definition leaves them out.
const FRESH = {
  name: null, kind: "", cron: "", every_s: null, timezone: "UTC", payload: {}, overlap: "skip", catch_up_s: 3600, jitter_s: 0, from: null, until: null, tags: [], batch: null,
};
// Of the preview while the name is not given: it decides nothing but the jitter.
const NAMELESS = "new";

// The instants of a preview, each in the time zone of the schedule.
export const instantLines = ({ timezone, instants }, hasJitter) => [h("p", { class: "small faint" }, `In ${timezone}`), h("ul", { class: "lines", "aria-label": `Next instants, in ${timezone}` },
  instants.map(({ at, local, fires_at: firesAt }) => h("li", h("div", { class: "side" },
    h("span", local.replace("T", " ")), time(at)), hasJitter && h("div", { class: "faint small" }, "fires ", time(firesAt)))))];

const text = (name, label, value, more) => textField(name, label, value ?? "", more);
const select = (name, label, options, chosen) => h("label", label, h("select", { name }, options.map(([value, words]) => h("option", { value, selected: String(value) === String(chosen) }, words))));

function whole(value, label) {
  if (!/^\d{1,9}$/.test(value.trim())) throw new Error(`${label} must be a whole number.`);
  return Number(value);
}

// What the form says, as the body of PUT. Throws an Error that names what can't be read.
function definitionOf({ how, cron, timezone, every, unit, kind, payload, ...more }) {
  const when = how === "cron" ? { cron: cron.trim(), timezone: timezone.trim() } : { every_s: whole(every, "Every") * Number(unit) };
  return withPayload({
    kind: kind.trim(), ...when, overlap: more.overlap, catch_up_s: whole(more.catch_up_s, "Catch-up"), jitter_s: whole(more.jitter_s, "Jitter"),
    from: more.from.trim() || null, until: more.until.trim() || null, batch: more.batch.trim() || null,
    tags: more.tags.split("\n").map((tag) => tag.trim()).filter(Boolean),
  }, checkedJson(payload));
}

const isBegun = ({ kind, how, cron, every }) => kind.trim() !== "" && (how === "cron" ? cron : every).trim() !== "";

class Form {
  #page;
  #name;
  #preview = h("div", { class: "instants", role: "status" });
  #asked = new AbortController();
  #timer;

  constructor(page, schedule) {
    const { name } = schedule;
    this.#page = page;
    this.#name = name;
    const [number, , size] = schedule.every_s === null ? ["", null, 60] : inUnits(schedule.every_s);
    const how = select("how", "Due", [["cron", "by a cron expression"], ["every", "at a fixed interval"]], schedule.every_s === null ? "cron" : "every");
    const cron = h("fieldset", { class: "bare row" }, text("cron", "Minute, hour, day, month, weekday", schedule.cron, { placeholder: "30 2 * * *" }),
      text("timezone", "Time zone", schedule.timezone ?? "UTC", { list: "zones" }));
    const every = h("fieldset", { class: "bare row" }, text("every", "Every", number, { inputmode: "numeric" }), select("unit", "Unit", UNITS.map(([unit, seconds]) => [seconds, `${unit}s`]), size));
    const choose = () => {
      const isCron = how.querySelector("select").value === "cron";
      cron.hidden = cron.disabled = !isCron;
      every.hidden = every.disabled = isCron;
    };
    const kinds = h("datalist", { id: "schedule-kinds" });
    const zones = h("datalist", { id: "zones" }, ["UTC", ...Intl.supportedValuesOf?.("timeZone") ?? []].map((value) => h("option", { value })));
    choose();
    this.element = h("div", { class: "stack", on: { input: () => { choose(); this.#later(); } } },
      h("div", { class: "row" }, name === null && text("name", "Name", "", { required: true, maxlength: 55 }), text("kind", "Kind of its jobs", schedule.kind, { required: true, list: "schedule-kinds" })),
      how, cron, every, h("h3", "Next instants"), this.#preview, h("label", "Payload, as JSON", h("textarea", { name: "payload", class: "low", spellcheck: "false", autocapitalize: "none", value: written(schedule.payload) })),
      h("details", h("summary", "More"), select("overlap", "Overlap", Object.entries(OVERLAPS), schedule.overlap),
        h("div", { class: "row" }, text("catch_up_s", "Catch-up, in seconds", schedule.catch_up_s, { inputmode: "numeric" }), text("jitter_s", "Jitter, in seconds", schedule.jitter_s, { inputmode: "numeric" })),
        h("div", { class: "row" }, text("from", "From", schedule.from, { placeholder: "2026-01-31T00:00:00Z" }), text("until", "Until", schedule.until, { placeholder: "2026-12-31T00:00:00Z" })),
        text("batch", "Batch of its jobs", schedule.batch), h("label", "Tags, one a line", h("textarea", { name: "tags", class: "low", spellcheck: "false", value: schedule.tags.join("\n") }))),
      kinds, zones);
    this.#suggest(kinds);
    this.#later();
  }

  end() {
    clearTimeout(this.#timer);
    this.#asked.abort();
  }

  // Saves what the form says, and resolves to the name.
  async save({ name = this.#name, ...values }) {
    const body = definitionOf(values);
    const { signal } = this.#page;
    if (this.#name === null && await this.#isTaken(name.trim())) throw new Error(`There is a schedule ${name.trim()} already: choose another name, or edit that one.`);
    await send(scheduleAddress(name.trim()), body, { method: "PUT", signal });
    return name.trim();
  }

  // By the list: a name that is free would be a 404, of which browsers complain.
  async #isTaken(name, token = "") {
    const { schedules, next_page_token: next } = await ask(address("/schedules", { page_size: PAGE, page_token: token }), { signal: this.#page.signal });
    return schedules.some((one) => one.name === name) || (next !== "" && this.#isTaken(name, next));
  }

  async #suggest(place) {
    try {
      fill(place, (await ask("/kinds", { signal: this.#page.signal })).kinds.map(({ kind }) => h("option", { value: kind })));
    } catch {
      // Suggestions are a help: without them the field works as well.
    }
  }

  #later() {
    this.end();
    this.#asked = new AbortController();
    this.#timer = setTimeout(() => this.#look(this.#asked.signal), LOOK_AFTER_MS);
  }

  async #look(signal) {
    const values = Object.fromEntries(new FormData(this.element.closest("form")));
    if (!isBegun(values)) {
      fill(this.#preview, h("p", { class: "faint" }, "They appear here once kind and times are set."));
      return;
    }
    try {
      const name = (this.#name ?? values.name.trim()) || NAMELESS;
      const found = await send(address(`${scheduleAddress(name)}/next`, { count: PREVIEWED }), definitionOf(values), { signal });
      fill(this.#preview, instantLines(found, values.jitter_s.trim() !== "0"));
    } catch (problem) {
      if (!signal.aborted) fill(this.#preview, h("p", { class: "trouble" }, problem.detail ?? problem.message));
    }
  }
}

async function fillIn(page, schedule, title) {
  const form = new Form(page, schedule);
  const saved = await question({ title, fields: [form.element], confirm: "Save the schedule", isWide: true, check: (values) => form.save(values) });
  form.end();
  return saved;
}

// Resolves to the name, or to null where the person leaves the form.
export async function editSchedule(page, schedule) {
  const { name } = schedule;
  const saved = await fillIn(page, schedule, `Edit ${name}`);
  if (saved !== null) notice(`${name} is saved.`);
  return saved;
}

export async function newSchedule(page) {
  const saved = await fillIn(page, FRESH, "New schedule");
  if (saved !== null) location.assign(scheduleAddress(saved));
}

// The callback endpoints of the tenant: where the events of its jobs go, whether that works, and what a person can change.
import { actButton, carryOut, notice, question, reasonField, withReason } from "./act.js";
import { ask, send } from "./api.js";
import { h, renew } from "./dom.js";
import { time } from "./format.js";
import { card, emptyPlace, list, mark, textField } from "./parts.js";

const PATH = "/callback-endpoints";
const EVENTS = ["job.succeeded", "job.failed", "job.cancelled"];
const STATES = {
  enabled: ["good", "check", "enabled"], failing: ["bad", "cross", "failing"], disabled: ["bad", "bar", "disabled by Acked"], off: ["off", "bar", "off"],
};
const HEADS = [["Name"], ["Gets"], ["State"], ["Acts"]];
const FRESH = { name: null, url: "", events: EVENTS, kinds: [], header_names: [] };

const urlOf = (name) => `${PATH}/${encodeURIComponent(name)}`;

function stateOf({ state, disabled, failing_since: since, last_error: error }) {
  return [mark(...(state === "enabled" && since ? ["off", "clock", state] : STATES[state] ?? ["off", "bar", state])),
    disabled && h("div", { class: "small faint" }, `by ${disabled.by}${disabled.reason === null ? "" : `: ${disabled.reason}`}, `, time(disabled.at)),
    since && h("div", { class: "small" }, "all calls failed, the first one ", time(since), error && `: ${error}`)];
}

const gets = ({ url, events, kinds, header_names: headers }) => [h("div", url),
  h("div", { class: "small faint" }, events.length === EVENTS.length ? "all events" : events.join(", "), kinds.length === 0 ? ", of all kinds" : `, of ${kinds.join(", ")}`,
    headers.length > 0 && `; with the headers ${headers.join(", ")}`)];

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

// "name: value" lines. Without a line the headers stay as they are.
function headersOf(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (lines.length === 0) return {};
  return { headers: Object.fromEntries(lines.map((line) => {
    const at = line.indexOf(":");
    if (at < 1) throw new Error(`Not a header ("name: value"): ${line}`);
    return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  })) };
}

export class CallbackEndpoints {
  #page;
  #changed;
  #trouble = h("div");
  #list = h("div");

  constructor(page, changed) {
    this.#page = page;
    this.#changed = changed;
    this.element = card("Endpoints", h("p", { class: "small" }, "They receive the events of all jobs of the tenant, or of some kinds, that are accepted from now on."), this.#trouble, this.#list,
      h("div", { class: "row more" }, h("button", { type: "button", class: "quiet", on: { click: () => this.#define(FRESH) } }, "New endpoint")));
  }

  show({ endpoints }) {
    renew(this.#list, endpoints, () => (endpoints.length === 0 ? emptyPlace("No endpoint yet.", "Requests may name a callback of their own.")
      : list("Callback endpoints, by name", HEADS, h("tbody", endpoints.map((one) => this.#row(one))), "endpoints")));
  }

  #row(endpoint) {
    const { name, enabled } = endpoint;
    const button = (label, work) => actButton(label, work, { class: "quiet small", "aria-label": `${label} ${name}` });
    return h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("span", { class: "strong" }, name)), h("td", { "data-label": "Gets" }, gets(endpoint)), h("td", { "data-label": "State" }, stateOf(endpoint)),
      h("td", h("div", { class: "row" }, enabled ? button("Disable", () => this.#disable(name)) : button("Enable", () => this.#act(`${urlOf(name)}/enable`, undefined, { done: `${name} is enabled.` })),
        button("Edit", () => this.#define(endpoint)), button("Delete", () => this.#delete(name)))));
  }

  async #act(url, body, options) {
    await carryOut(url, body, { ...options, place: this.#trouble, signal: this.#page.signal });
    this.#changed();
  }

  async #disable(name) {
    const given = await question({
      title: `Disable ${name}?`, text: "No event is sent to it. A delivery whose next attempt is due meanwhile fails.", confirm: "Disable the endpoint",
      fields: [reasonField()],
    });
    if (given !== null) await this.#act(`${urlOf(name)}/disable`, withReason(given), { done: `${name} is disabled.` });
  }

  async #delete(name) {
    const sure = await question({
      title: `Delete ${name}?`, text: "No event is sent to it any more: deliveries that wait for their next attempt fail.", confirm: "Delete the endpoint", isDangerous: true,
    });
    if (sure !== null) await this.#act(urlOf(name), undefined, { method: "DELETE", done: `${name} is deleted.` });
  }

  // A form for a new endpoint, or for another definition of one.
  async #define({ name, url, events, kinds, header_names: headers }) {
    const saved = await question({
      title: name === null ? "New endpoint" : `Edit ${name}`, confirm: "Save the endpoint",
      fields: [name === null && textField("name", "Name", "", { required: true, maxlength: 55 }), textField("url", "URL", url, { required: true, type: "url", placeholder: "an https address" }),
        h("fieldset", h("legend", "Events"), EVENTS.map((event) => h("label", h("input", { type: "checkbox", name: event, checked: events.includes(event) }), ` ${event}`))),
        textField("kinds", "Kinds, separated by spaces; empty for all", kinds.join(" ")),
        h("label", `Headers to send, one "name: value" a line${headers.length > 0 ? `; if empty, these stay: ${headers.join(", ")}` : ""}`, h("textarea", { name: "headers", class: "low", spellcheck: "false" }))],
      check: (values) => this.#save(name, values),
    });
    if (saved === null) return;
    notice(`${saved} is saved.`);
    this.#changed();
  }

  async #save(known, { name = known, url, kinds, headers, ...chosen }) {
    const events = EVENTS.filter((event) => chosen[event] !== undefined);
    if (events.length === 0) throw new Error("Choose at least one event.");
    const own = name.trim();
    if (known === null && (await ask(PATH, { signal: this.#page.signal })).endpoints.some((one) => one.name === own)) {
      throw new Error(`There is an endpoint ${own} already: choose another name, or edit that one.`);
    }
    const given = words(kinds);
    const definition = { url: url.trim(), events, ...(given.length > 0 ? { kinds: given } : {}), ...headersOf(headers) };
    await send(urlOf(own), definition, { method: "PUT", signal: this.#page.signal });
    return own;
  }
}

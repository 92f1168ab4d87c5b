// Parts that several pages show: states, problems, empty places, copy buttons.
import { intakeUrl, lookOf, states } from "./config.js";
import { fill, h, svg } from "./dom.js";

const SHAPES = {
  ring: ["circle", { cx: 8, cy: 8, r: 5 }],
  play: ["path", { d: "M5 3l8 5-8 5z" }],
  clock: ["path", { d: "M8 2a6 6 0 1 0 .1 0M8 5v3.5l2.5 1.5" }],
  hourglass: ["path", { d: "M4 2h8M4 14h8M5 2l3 6-3 6M11 2l-3 6 3 6" }],
  check: ["path", { d: "M3 8.5l3.5 3.5L13 4.5" }],
  cross: ["path", { d: "M4 4l8 8M12 4l-8 8" }],
  bar: ["path", { d: "M3 8h10" }],
};

// One of SHAPES, beside a word that says the same.
export function shape(name) {
  const [tag, attributes] = SHAPES[name];
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "shape" }, svg(tag, attributes));
}

const shapeOf = (state) => shape(lookOf(state).shape);

// What is not a state of a job, by colour, shape and word.
export const mark = (tone, form, ...words) => h("span", { class: `chip tone-${tone}` }, shape(form), words);

// A state by colour, shape and word.
export function stateChip(state) {
  return h("span", { class: `chip tone-${lookOf(state).tone}`, "data-state": state }, shapeOf(state), state);
}

// A link to the list of each state, and to that of all; `hrefOf` gets a state or null, and `current` is the one that is shown.
export function stateLinks(current, hrefOf) {
  const link = (state, label) => h("li", h("a", { href: hrefOf(state), "aria-current": (current ?? null) === state ? "page" : null }, label));
  return h("nav", { "aria-label": "States" }, h("ul", { class: "choices" }, link(null, "All"), states.map(({ name }) => link(name, stateChip(name)))));
}

// Makes a chip show another state, in its place.
export function updateChip(chip, state) {
  if (chip.dataset.state === state) return;
  chip.className = `chip tone-${lookOf(state).tone}`;
  chip.dataset.state = state;
  fill(chip, shapeOf(state), state);
}

export function problemBox(problem) {
  const { document = {} } = problem;
  const errors = document.errors ?? [];
  // The only error often stands in the sentence already.
  const isSaid = errors.length === 1 && problem.detail?.includes(errors[0].detail);
  return h("section", { class: "card problem", role: "alert" },
    h("h2", problem.title ?? "The page failed"),
    h("p", problem.detail ?? String(problem)),
    (isSaid ? [] : errors).map(({ pointer, parameter, detail }) => h("p", h("code", pointer ?? parameter ?? ""), " ", detail)),
    typeof document.type === "string" && document.type.startsWith("/problems/")
      && h("p", h("a", { href: document.type }, "What this problem means")));
}

// A place with nothing to show: says why, and what comes next.
export const emptyPlace = (title, ...next) => h("div", { class: "empty" }, h("p", { class: "strong" }, title), next.map((one) => h("p", one)));

export function skeleton(lines = 3) {
  return h("div", { class: "skeleton", "aria-hidden": "true" }, Array.from({ length: lines }, () => h("span")));
}

// `name` is what screen readers say, where the label alone does not say what is copied.
export function copyButton(text, label = "Copy", name = null) {
  const button = h("button", { type: "button", class: "quiet small", "aria-label": name }, label);
  button.addEventListener("click", async () => {
    const value = typeof text === "function" ? text() : text;
    try {
      await navigator.clipboard.writeText(value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it by hand";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}

// A command for a terminal with a button that copies it.
export const command = (text, label = "Command") => h("div", { class: "command" },
  h("pre", { tabindex: "0", "aria-label": label }, text), copyButton(text));

// The command that sends a job, such as `{"kind": "demo"}`, as a client whose token stands in the environment.
export const sendCommand = (page, body, label) => command(`${page.curl} -H 'Content-Type: application/json' -d '${body}' ${intakeUrl}/process`, label);

// A field for names, instants and other texts that no browser should complete or correct.
export const textField = (name, label, value = "", more = {}) => h("label", label,
  h("input", { name, value, autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...more }));

// One of a list of pairs.
export const fact = (term, ...values) => [h("dt", term), h("dd", values)];

// JSON for people, as text.
export const json = (value) => h("pre", { tabindex: "0", "aria-label": "JSON" }, JSON.stringify(value, null, 2));

export const card = (title, ...children) => {
  const id = `card-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), children);
};

// A table of rows that become blocks on a phone; `heads` are [name, is a number], and cells carry the name as `data-label`.
export const list = (caption, heads, body, extra = "") => h("table", { class: `list ${extra}` }, h("caption", { class: "unseen" }, caption),
  h("thead", h("tr", heads.map(([name, isNumber]) => h("th", { scope: "col", class: isNumber ? "number" : null }, name)))), body);

// A table that scrolls sideways by itself where it is too wide; `heads` are texts, or elements. A group, not a region: the
// card around it is the landmark. `looks` are classes of the table.
export function table(caption, heads, body, looks = null) {
  return h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": caption },
    h("table", { class: looks }, h("caption", { class: "unseen" }, caption),
      h("thead", h("tr", heads.map((head) => h("th", { scope: "col" }, head)))), body));
}

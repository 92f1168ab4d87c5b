// The span of time that a page shows. It is no parameter of the page, so it stands behind `#`.
import { h } from "./dom.js";

const WINDOWS = { "15m": "15 min", "1h": "1 h", "24h": "24 h", "8d": "8 days" };
const USUAL = "1h";

// Buttons for the windows; `changed` is called when a person has chosen another one.
export class WindowPicker {
  #page;
  #buttons;

  constructor(page, changed) {
    this.#page = page;
    this.#buttons = Object.entries(WINDOWS).map(([name, text]) => h("button", {
      type: "button", class: "quiet small", "data-window": name,
      on: { click: () => { page.setHash({ window: name === USUAL ? null : name }); this.#mark(); changed(); } },
    }, text));
    this.element = h("div", { class: "switch", role: "group", "aria-label": "Time that is shown" }, this.#buttons);
    addEventListener("hashchange", () => { this.#mark(); changed(); }, { signal: page.signal });
    this.#mark();
  }

  get value() {
    const { window: name } = this.#page.hash;
    return Object.hasOwn(WINDOWS, name) ? name : USUAL;
  }

  #mark() {
    for (const button of this.#buttons) button.setAttribute("aria-pressed", String(button.dataset.window === this.value));
  }
}

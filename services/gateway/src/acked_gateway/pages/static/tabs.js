// Tabs as WAI-ARIA describes them: the arrow keys go from tab to tab, and the chosen one stands behind `#` in the address.
import { fill, h } from "./dom.js";

export class Tabs {
  #page;
  #tabs;
  #panel = h("div", { role: "tabpanel", id: "panel", tabindex: "0" });
  #chosen = null;

  // `tabs` are `{name, label, show}`; `show()` returns what the panel holds. `usual` is the name of
  // the one that is shown where the address names none.
  constructor(page, title, tabs, usual = tabs[0].name) {
    this.#page = page;
    this.#tabs = tabs.map((tab) => ({ ...tab, button: h("button", {
      type: "button", role: "tab", id: `tab-${tab.name}`, "aria-controls": "panel", on: { click: () => this.choose(tab.name) },
    }, tab.label) }));
    const list = h("div", { role: "tablist", "aria-label": title, class: "tabs" }, this.#tabs.map(({ button }) => button));
    list.addEventListener("keydown", (event) => this.#step(event));
    this.element = h("section", { class: "card" }, list, this.#panel);
    const { tab } = page.hash;
    this.choose(tabs.some(({ name }) => name === tab) ? tab : usual, tab !== undefined);
  }

  get chosen() {
    return this.#chosen;
  }

  choose(name, isKept = true) {
    this.#chosen = name;
    if (isKept) this.#page.setHash({ tab: name });
    for (const tab of this.#tabs) {
      const isChosen = tab.name === name;
      tab.button.setAttribute("aria-selected", String(isChosen));
      tab.button.tabIndex = isChosen ? 0 : -1;
      if (isChosen) this.#panel.setAttribute("aria-labelledby", tab.button.id);
    }
    this.redraw();
  }

  label(name, text) {
    const { button } = this.#tabs.find((tab) => tab.name === name);
    if (button.textContent !== text) button.textContent = text;
  }

  // Shows the chosen tab anew.
  redraw() {
    fill(this.#panel, this.#tabs.find(({ name }) => name === this.#chosen).show());
  }

  #step(event) {
    const at = this.#tabs.findIndex(({ name }) => name === this.#chosen);
    const last = this.#tabs.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(this.#tabs[to].name);
    this.#tabs[to].button.focus();
  }
}

// How long something took: bars over the spans of a sketch, quantiles as figures, and all of it as a table.
import { fill, h, say, svg } from "./dom.js";
import { count, duration, plural } from "./format.js";

const QUANTILES = [["p50", "Half within"], ["p95", "95 % within"], ["p99", "99 % within"]];
// Spans grow by this factor, ten a decade.
const STEP = 10 ** 0.1;
const LEAST_S = 1e-3;

const placeOf = ({ from_s: from }) => Math.round(Math.log(Math.max(from, LEAST_S / STEP) / LEAST_S) / Math.log(STEP));

export class Histogram {
  #figures = new Map(QUANTILES.map(([name]) => [name, h("dd", "–")]));
  #bars = svg("svg", { class: "spans tone-run", preserveAspectRatio: "none", "aria-hidden": "true" });
  #scale = h("p", { class: "scale", "aria-hidden": "true" });
  #most = h("p", { class: "faint small", "aria-hidden": "true" });
  #rows = h("tbody");
  #title;
  #counted;

  // `counted` is what a bar counts, in the singular.
  constructor(title, counted) {
    this.#title = title;
    this.#counted = counted;
    this.element = h("section", h("h3", title), h("dl", { class: "figures" }, QUANTILES.map(([name, term]) => h("div", h("dt", term), this.#figures.get(name)))),
      this.#most, this.#bars, this.#scale,
      h("details", h("summary", `${title} as a table`), h("table", h("caption", { class: "unseen" }, title),
        h("thead", h("tr", h("th", { scope: "col" }, "Above"), h("th", { scope: "col" }, "Up to"), h("th", { scope: "col" }, `${counted[0].toUpperCase()}${counted.slice(1)}s`))), this.#rows)));
  }

  show(durations) {
    for (const [name, element] of this.#figures) say(element, duration(durations[`${name}_s`]));
    const { spans } = durations;
    if (spans.length === 0) {
      fill(this.#bars);
      say(this.#most, "");
      fill(this.#scale, `${this.#title}: nothing was measured in this time.`);
      fill(this.#rows);
      return;
    }
    const first = placeOf(spans[0]);
    const width = Math.max(placeOf(spans.at(-1)) - first + 1, 12);
    const most = Math.max(...spans.map((span) => span.count));
    this.#bars.setAttribute("viewBox", `0 0 ${width} 100`);
    fill(this.#bars, spans.map((span) => {
      const height = Math.max((100 * span.count) / most, 2);
      return svg("rect", { x: placeOf(span) - first + 0.1, y: 100 - height, width: 0.8, height });
    }));
    const end = LEAST_S * STEP ** (first + width);
    say(this.#most, `Highest bar: ${plural(most, this.#counted)}`);
    fill(this.#scale, h("span", duration(spans[0].from_s)), h("span", `${this.#title}, longer to the right`), h("span", duration(end)));
    fill(this.#rows, spans.map(({ from_s: from, to_s: to, count: times }) => h("tr", h("td", duration(from)), h("td", to === null ? "longer" : duration(to)), h("td", { class: "number" }, count(times)))));
  }
}

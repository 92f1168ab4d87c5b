// How the latencies of the calls of a load test are spread, as bars and as a table.
import { count, milliseconds, plural } from "./format.js";
import { fill, h, say, svg } from "./dom.js";
import { table } from "./parts.js";

const WIDTH = 100;
const HEIGHT = 40;
const GAP = 0.15;

export class LatencyBars {
  #bars = svg("svg", { class: "histogram tone-run", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  #from = h("span");
  #to = h("span");
  #most = h("p", { class: "faint small", "aria-hidden": "true" });
  #rows = h("tbody");
  element = h("figure", { class: "plotted" }, h("figcaption", h("h3", "Latency of the calls")), this.#most, this.#bars,
    h("p", { class: "ends faint small" }, this.#from, h("span", "Latency, in equal steps"), this.#to),
    h("details", h("summary", "Latency of the calls as a table"), table("Latency of the calls", ["Up to", "Calls"], this.#rows)));

  // `bounds` are the upper ends of the bars in milliseconds, `counts` the calls of each; null shows an empty frame.
  show(found) {
    const { bounds_ms: bounds, counts } = found ?? { bounds_ms: [], counts: [] };
    const most = Math.max(...counts, 1);
    const step = WIDTH / Math.max(counts.length, 1);
    fill(this.#bars, counts.map((calls, at) => {
      const height = (HEIGHT * calls) / most;
      return svg("rect", { x: (at + GAP / 2) * step, y: HEIGHT - height, width: (1 - GAP) * step, height, fill: "currentColor" });
    }));
    say(this.#most, counts.length === 0 ? "Highest bar: –" : `Highest bar: ${plural(most, "call")}`);
    fill(this.#from, counts.length === 0 ? "–" : milliseconds(0));
    fill(this.#to, counts.length === 0 ? "–" : milliseconds(bounds.at(-1)));
    fill(this.#rows, counts.map((calls, at) => h("tr", h("th", { scope: "row" }, milliseconds(bounds[at])), h("td", { class: "number" }, count(calls)))));
  }
}

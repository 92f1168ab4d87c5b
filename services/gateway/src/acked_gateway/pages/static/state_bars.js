// How many jobs are in each state, as the parts of one bar. It is decoration: the numbers stand beside it as text.
import { lookOf, states } from "./config.js";
import { svg } from "./dom.js";

const WIDTH = 400;
const LEAST = 3;

export class StateBars {
  element = svg("svg", { viewBox: `0 0 ${WIDTH} 12`, preserveAspectRatio: "none", class: "span", "aria-hidden": "true" });
  #parts = new Map();

  // `counts` by state.
  show(counts) {
    const total = Math.max(1, Object.values(counts).reduce((sum, jobs) => sum + jobs, 0));
    let at = 0;
    for (const { name } of states) {
      const jobs = counts[name] ?? 0;
      if (jobs === 0 && !this.#parts.has(name)) continue;
      // A part that would be too thin to see is drawn a little wider.
      const width = jobs === 0 ? 0 : Math.max(LEAST, (WIDTH * jobs) / total);
      const part = this.#part(name);
      part.setAttribute("x", Math.min(at, WIDTH - width));
      part.setAttribute("width", width);
      at += width;
    }
  }

  #part(name) {
    if (!this.#parts.has(name)) {
      const part = svg("rect", { y: 0, height: 12, fill: "currentColor", class: `tone-${lookOf(name).tone}` });
      this.#parts.set(name, part);
      this.element.append(part);
    }
    return this.#parts.get(name);
  }
}

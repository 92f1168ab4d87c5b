// When the jobs of a batch ended, as rates over time.
import { lookOf, terminalStates } from "./config.js";
import { fill, h, say } from "./dom.js";
import { count, duration } from "./format.js";
import { emptyPlace } from "./parts.js";
import { Plot } from "./plot.js";

export class BatchEnds {
  #place = h("div", emptyPlace("No job has ended yet."));
  #note = h("p", { class: "faint small" });
  #plot = null;
  element = h("div", this.#place, this.#note);

  // The response of `/batches/{batch}/ends`.
  show({ step_s: step, points, is_complete: isComplete }) {
    if (points.length === 0) return;
    if (this.#plot === null) {
      this.#plot = new Plot("Ended jobs per second", terminalStates.map((name, at) => ({ label: name, tone: lookOf(name).tone, dash: at > 0 })), "rate");
      fill(this.#place, this.#plot.element);
    }
    // One step more on each side: a batch that ended within a step is a peak, not a dot.
    const begin = Date.parse(points[0].at) / 1000;
    const times = Array.from({ length: points.length + 2 }, (_, at) => begin + (at - 1) * step);
    this.#plot.show(times, terminalStates.map((name) => [0, ...points.map((point) => point[name] / step), 0]));
    const jobs = points.reduce((sum, point) => sum + terminalStates.reduce((some, name) => some + point[name], 0), 0);
    say(this.#note, `Over steps of ${duration(step)}.${isComplete ? "" : ` Of the ${count(jobs)} newest jobs that ended.`}`);
  }
}

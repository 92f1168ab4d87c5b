// Rates and durations out of the points of GET /timeseries, as plots show them.
import { acceptedIn, endedIn, failedIn, seconds } from "./counts.js";
import { Plot } from "./plot.js";

// A younger step says too little: counts come every 10 s.
const LEAST_S = 20;

// Rates of each step; null for one that has just begun.
function rates({ points, step_s: step }, of, now) {
  return points.map((point, n) => {
    const lasted = n < points.length - 1 ? step : now / 1000 - seconds(point.at);
    return lasted < Math.min(LEAST_S, step) ? null : of(point) / Math.min(Math.max(lasted, 1), step);
  });
}

// The two plots that belong to a time series: what happened a second, and how long it took.
export class SeriesPlots {
  #rates = new Plot("Jobs per second", [
    { label: "accepted", tone: "run" }, { label: "ended", tone: "good" }, { label: "ended as failed", tone: "bad", dash: true },
  ], "rate");
  #durations;

  // `sketch` is `wait` or `run`.
  constructor(title, sketch) {
    this.sketch = sketch;
    this.#durations = new Plot(title, [{ label: "half of them (p50)", tone: "later" }, { label: "95 % of them (p95)", tone: "off", dash: true }], "duration");
    this.elements = [this.#rates.element, this.#durations.element];
  }

  show(series, now = Date.now()) {
    const times = series.points.map(({ at }) => seconds(at));
    this.#rates.show(times, [acceptedIn, endedIn, failedIn].map((of) => rates(series, of, now)));
    this.#durations.show(times, ["p50", "p95"].map((quantile) => series.points.map((point) => point[`${this.sketch}_${quantile}_s`])));
  }
}

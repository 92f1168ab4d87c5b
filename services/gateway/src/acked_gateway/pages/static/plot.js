// A plot over time with uPlot, and the same figures as a table for everybody who can't see it.
import { ZONE_SWITCHED, absolute, duration, isUtc, rate } from "./format.js";
import { fill, h, say } from "./dom.js";
import uPlot from "./uplot.js";

const HEIGHT = 160;
// The least top of an axis: without anything to show it has sensible marks all the same.
const least = { rate: 0.1, duration: 0.01, count: 1 };
const formats = { rate, duration, count: (value) => value.toLocaleString("en") };

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const CHAR_WIDTH = 7;
// As wide as the longest mark of the axis, so that none is cut.
const widthOf = (_, marks) => 24 + CHAR_WIDTH * Math.max(4, ...(marks ?? []).map((mark) => mark.length));

// A value without neighbours has no line: it needs a point.
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
}

// In the zone that the person has chosen.
const instant = (seconds) => absolute(new Date(seconds * 1000).toISOString());
const MINUTE_S = 60;
// Marks within a minute of each other would all say the same.
const clocks = (ticks) => ticks.map((seconds) => instant(seconds).slice(11, ticks[1] - ticks[0] < MINUTE_S ? 19 : 16));

// `series` are `{label, tone, dash?}`; `format` is `rate`, `duration` or `count`. `show(times, values)` gets seconds since
// 1970, or with `isElapsed` seconds from a beginning, and a list for each series, with null where nothing is known.
export class Plot {
  #plot = null;
  #series;
  #format;
  #least;
  #place = h("div", { class: "plot", "aria-hidden": "true" });
  #rows = h("tbody");
  #data = null;
  #isElapsed;
  #timeHead = h("span");

  constructor(title, series, format, { isElapsed = false } = {}) {
    this.#series = series;
    this.#format = formats[format];
    this.#least = least[format];
    this.#isElapsed = isElapsed;
    const heads = [this.#timeHead, ...series.map(({ label }) => label)];
    this.element = h("figure", { class: "plotted" }, h("figcaption", h("h3", title), this.#legend()), this.#place,
      h("details", h("summary", `${title} as a table`), h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": title },
        h("table", h("caption", { class: "unseen" }, title), h("thead", h("tr", heads.map((head) => h("th", { scope: "col" }, head)))), this.#rows))));
    new ResizeObserver(() => this.#resize()).observe(this.#place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
    addEventListener(ZONE_SWITCHED, () => {
      this.#redraw();
      if (this.#data !== null) this.#showRows();
    });
  }

  show(times, values) {
    this.#data = [times, ...values];
    if (this.#plot === null) this.#redraw();
    else this.#plot.setData(this.#data);
    if (this.element.querySelector("details").open || this.#rows.childElementCount === 0) this.#showRows();
    this.element.querySelector("details").ontoggle = () => this.#showRows();
  }

  #legend() {
    return h("ul", { class: "legend" }, this.#series.map(({ label, tone, dash }) => h("li", { class: `tone-${tone}${dash ? " dashed" : ""}` }, label)));
  }

  #showRows() {
    say(this.#timeHead, this.#isElapsed ? "After" : isUtc() ? "Time (UTC)" : "Time (local)");
    const [times, ...values] = this.#data;
    const order = times.map((_, at) => times.length - 1 - at);
    fill(this.#rows, order.map((at) => h("tr", h("th", { scope: "row" }, this.#rowTime(times[at])),
      values.map((list) => h("td", list[at] === null ? "–" : this.#format(list[at]))))));
  }

  #rowTime(at) {
    return this.#isElapsed ? duration(at) : instant(at).slice(0, 16);
  }

  #resize() {
    if (this.#plot !== null && this.#place.clientWidth > 0) this.#plot.setSize({ width: this.#place.clientWidth, height: HEIGHT });
  }

  #redraw() {
    if (this.#data === null || this.#place.clientWidth === 0) return;
    this.#plot?.destroy();
    const grid = { stroke: colourOf("line"), width: 1 };
    const axis = { stroke: colourOf("faint"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    this.#plot = new uPlot({
      width: this.#place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: !this.#isElapsed }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, this.#least)] } },
      axes: [{ ...axis, space: 72, values: (_, ticks) => (this.#isElapsed ? ticks.map(duration) : clocks(ticks)) },
        { ...axis, size: widthOf, values: (_, ticks) => ticks.map((value) => this.#format(value)) }],
      series: [{}, ...this.#series.map(({ label, tone, dash }) => ({
        label, stroke: colourOf(`tone-${tone}`), width: 2, dash: dash ? [6, 4] : undefined, points: { show: true, size: 6, filter: alone },
      }))],
    }, this.#data, this.#place);
  }
}

// The list of batches, newest first.
import { address, ask, batchAddress } from "./api.js";
import { emptyPlace, sendCommand, skeleton, stateChip, table } from "./parts.js";
import { counted, plural, time, updateTime } from "./format.js";
import { fill, h, keyed } from "./dom.js";
import { StateBars } from "./state_bars.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 5000;
const SIZE = 50;

function made(batch) {
  const bars = new StateBars();
  const row = h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("a", { href: batchAddress(batch.batch) }, batch.batch)),
    h("td", { "data-label": "Newest job" }, time(batch.newest_at)), h("td", { "data-label": "Jobs", class: "number" }),
    h("td", bars.element), h("td", h("ul", { class: "choices plain" })));
  row.bars = bars;
  return row;
}

function update(row, batch) {
  updateTime(row.querySelector("time"), batch.newest_at);
  row.querySelector(".number").textContent = counted(batch.total, batch.total_is_exact);
  row.bars.show(batch.states);
  keyed(row.querySelector("ul"), Object.entries(batch.states), ([state]) => state,
    ([state]) => h("li", h("a", { href: address("/jobs", { batch: batch.batch, state }) }, stateChip(state), h("span", { class: "count" }))),
    (item, [, number]) => { item.querySelector(".count").textContent = ` ${counted(number, batch.total_is_exact)}`; });
}

export function show(page) {
  page.setTitle("Batches");
  const body = h("tbody");
  const list = table("Batches, newest first", ["Batch", "Newest job", "Jobs", "Share of each state", "Jobs by state"], body, "list batches");
  const place = h("div", skeleton(6));
  const foot = h("div", { class: "row" });
  const heading = h("p", { class: "fresh" });
  page.main.append(h("section", { class: "card", "aria-label": "Batches" }, heading, place, foot));
  const token = page.query.get("page_token");
  new Refresh(page, {
    everyMs: EVERY_MS,
    load: (signal) => ask(address("/batches", { page_size: SIZE, ...page.asked }), { signal }),
    show: ({ batches, next_page_token: next }) => {
      if (batches.length > 0) {
        keyed(body, batches, ({ batch }) => batch, made, update);
        if (!place.contains(list)) fill(place, list);
      } else if (next === "") fill(place, token ? emptyPlace("The list ends here.", h("a", { href: "/batches" }, "Go to the newest batches")) : nothing(page));
      else fill(place, emptyPlace("No batch among the jobs that this page looked at."));
      heading.textContent = batches.length === 0 ? "" : `${plural(batches.length, "batch", "batches")}, newest first`;
      fill(foot, next !== "" && h("a", { class: "button quiet", href: address("/batches", { ...page.asked, page_token: next }) }, "Older batches"));
    },
  });
}

const nothing = (page) => h("div", emptyPlace("There are no batches yet.", "A batch is a name that jobs share:"),
  sendCommand(page, '{"kind": "demo", "batch": "nightly"}'));

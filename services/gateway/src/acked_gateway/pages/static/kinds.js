// All kinds of work, with pause and resume.
import { address, ask } from "./api.js";
import { fill, h } from "./dom.js";
import { KindTable, kindRows } from "./kind_table.js";
import { command, emptyPlace, textField } from "./parts.js";
import { Refresh } from "./refresh.js";
import { WindowPicker } from "./window.js";

const EVERY_MS = 3000;

export function show(page) {
  page.setTitle("Kinds");
  let refresh = null;
  let newest = null;
  const picker = new WindowPicker(page, () => refresh.now());
  const table = new KindTable(page, "Kinds of work", () => refresh.now());
  const none = h("div");
  const label = textField("name", "Name contains", "", { type: "search", "data-filter": "" });
  const filter = label.querySelector("input");
  const draw = () => {
    const rows = kindRows(newest).filter(({ kind }) => kind.includes(filter.value.trim()));
    table.element.hidden = rows.length === 0;
    table.show(rows);
    if (rows.length > 0) fill(none);
    else if (newest.kinds.length > 0) fill(none, emptyPlace("No kind has this in its name."));
    else fill(none, emptyPlace("No worker has registered a kind yet.", "Workers do when they start:"), command("./just scale worker=1"));
  };
  filter.addEventListener("input", () => { if (newest !== null) draw(); });
  fill(page.main, h("section", { class: "card", "aria-label": "Kinds" },
    h("div", { class: "head" }, label, h("div", h("p", { class: "small faint" }, "Failure share over"), picker.element)),
    table.element, none));
  refresh = new Refresh(page, {
    everyMs: EVERY_MS,
    load: async (signal) => {
      const mine = page.isOfDefaultTenant;
      const [{ kinds }, totals, backlog, workers] = await Promise.all([
        ask("/kinds", { signal }),
        ask(address("/timeseries/kinds", { window: picker.value }), { signal }),
        mine ? ask("/backlog", { signal }) : null,
        mine ? ask("/workers", { signal }) : null,
      ]);
      return { kinds, totals, backlog, workers: workers?.workers ?? null };
    },
    show: (found) => { newest = found; draw(); },
  });
}

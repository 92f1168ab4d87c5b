// All schedules of the tenant: when each is due next, what its last firing came to, and whether it is paused.
import { address, ask, kindAddress, scheduleAddress } from "./api.js";
import { permissions } from "./config.js";
import { fill, h, keyed, renew } from "./dom.js";
import { count, plural, time } from "./format.js";
import { command, emptyPlace, list, mark, textField } from "./parts.js";
import { Refresh } from "./refresh.js";
import { newSchedule } from "./schedule_form.js";
import { firingWords, pausedBy, whenWords } from "./schedule_words.js";

const EVERY_MS = 3000;
const PAGE = 200;
const HEADS = [["Name"], ["Kind"], ["Due"], ["Next firing"], ["Last firing"], ["State"]];

const stateOf = ({ paused, next_at: next }) => (paused === null ? next === null ? mark("off", "bar", "has ended") : mark("good", "check", "active")
  : [mark("later", "bar", "paused"), h("div", { class: "small faint" }, pausedBy(paused), ", ", time(paused.since))]);

const lastOf = (firing) => (firing === null ? h("span", { class: "faint" }, "none yet") : [time(firing.last_at ?? firing.at), " ", firingWords(firing)]);

const row = ({ name }) => h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("a", { href: scheduleAddress(name), class: "strong" }, name)),
  HEADS.slice(1).map(([head]) => h("td", { "data-label": head })));

function update(element, schedule) {
  const [kind, when, next, last, state] = [...element.children].slice(1);
  renew(kind, schedule.kind, () => h("a", { href: kindAddress(schedule.kind) }, schedule.kind));
  renew(when, [schedule.cron, schedule.every_s, schedule.timezone], () => whenWords(schedule));
  renew(next, schedule.next_at, () => time(schedule.next_at));
  renew(last, schedule.last_firing, () => lastOf(schedule.last_firing));
  renew(state, [schedule.paused, schedule.next_at === null], () => stateOf(schedule));
}

function nothing(page) {
  return [emptyPlace("No schedule yet.", "A schedule sends jobs of one kind at regular times, such as each night."),
    page.may(permissions.submit) && command(`${page.curl} -X PUT -H 'Content-Type: application/json' \\\n  -d '{"cron": "30 2 * * *", "kind": "noop"}' '${location.origin}/schedules/nightly'`)];
}

export function show(page) {
  page.setTitle("Schedules");
  const body = h("tbody");
  const table = list("Schedules, by name", HEADS, body, "schedules hanging");
  const none = h("div");
  const size = h("p", { class: "faint small" });
  const more = h("p", h("a", "More schedules"));
  let found = null;
  const label = textField("name", "Name or kind contains", "", { type: "search", "data-filter": "" });
  const filter = label.querySelector("input");
  const draw = () => {
    const { schedules, next_page_token: next } = found;
    const shown = schedules.filter(({ name, kind }) => name.includes(filter.value.trim()) || kind.includes(filter.value.trim()));
    keyed(body, shown, ({ name }) => name, row, update);
    table.hidden = shown.length === 0;
    renew(none, [schedules.length === 0, shown.length === 0], () => (schedules.length === 0 ? nothing(page) : shown.length === 0 ? emptyPlace("No schedule has this in its name or kind.") : []));
    const some = shown.length < schedules.length ? `${count(shown.length)} of ` : "";
    renew(size, some + schedules.length, () => schedules.length > 0 && some + plural(schedules.length, "schedule"));
    more.hidden = next === "";
    more.firstElementChild.href = address("/schedules", { page_token: next });
  };
  filter.addEventListener("input", () => { if (found !== null) draw(); });
  fill(page.main, h("section", { class: "card", "aria-label": "Schedules" },
    h("div", { class: "head" }, label,
      page.may(permissions.submit) && h("button", { type: "button", on: { click: () => newSchedule(page) } }, "New schedule")),
    size, table, none, more));
  new Refresh(page, {
    everyMs: EVERY_MS,
    load: (signal) => ask(address("/schedules", { page_size: PAGE, ...page.asked }), { signal }),
    show: (loaded) => { found = loaded; draw(); },
  });
}

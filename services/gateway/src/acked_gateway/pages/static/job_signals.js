// The signals of a job: the unread ones, the newest that were taken, and the form that sends one.
import { freshKey, jobAddress, send } from "./api.js";
import { actButton, notice, question } from "./act.js";
import { count, time } from "./format.js";
import { emptyPlace, list, problemBox, textField } from "./parts.js";
import { fill, h } from "./dom.js";
import { checkedJson } from "./json_text.js";

const SHOWN = 50;
const MOST_BYTES = 64 * 1024;
const NAME = /^[a-z0-9._-]{1,64}$/;
const ANY = "*";
const HEADS = [["Signal"], ["State"], ["Received"], ["From"]];

const cells = ({ name, at, by }, ...became) => [
  h("th", { scope: "row" }, h("code", name)), h("td", { "data-label": "Is" }, became), h("td", { "data-label": "Received" }, time(at)),
  h("td", { "data-label": "From" }, by ?? "–"),
];

export function signalsOf({ received, unread, taken }, waits) {
  if (received === 0) return emptyPlace("No signal has arrived.");
  const wakes = ({ name }) => waits?.signals.includes(name) || waits?.signals.includes(ANY);
  const rows = [
    ...unread.slice(0, SHOWN).map((one) => h("tr", cells(one, h("strong", "Unread"), waits && !wakes(one) ? ": the job does not wait for this name" : ""))),
    ...taken.map((one) => h("tr", cells(one, "Taken by ", h("code", one.taken_by), " ", time(one.taken_at)))),
  ];
  return [
    h("p", { class: "faint" }, `${count(received)} received, ${count(unread.length)} unread`, unread.length > SHOWN && `, the oldest ${SHOWN} shown`, "."),
    rows.length > 0 && list("Signals: unread ones, then the newest that were taken", HEADS, h("tbody", rows), "signals"),
  ];
}

function checked({ name, value }) {
  if (!NAME.test(name.trim())) throw new Error("A name has 1 to 64 of the characters a to z, 0 to 9, '.', '_' and '-'.");
  if (new Blob([value]).size > MOST_BYTES) throw new Error("The value of a signal has at most 64 KiB.");
  return { name: name.trim(), value: checkedJson(value) };
}

// Asks for a signal and sends it. The id belongs to the form: what is sent again from it is the same signal. `draft` is what
// the person wrote before, where it was refused.
export async function sendSignal(page, job, place, changed, draft = null) {
  const names = (job.waits?.signals ?? []).filter((name) => name !== ANY);
  const id = draft?.id ?? freshKey();
  const values = await question({
    title: "Send a signal", confirm: "Send the signal",
    text: names.length > 1 ? `The job waits for one of: ${names.join(", ")}.` : "The job takes the oldest signal of the name that it waits for, each once.",
    fields: [
      textField("name", "Name", draft?.name ?? names[0] ?? "", { list: "signal-names" }),
      h("datalist", { id: "signal-names" }, names.map((name) => h("option", { value: name }))),
      h("label", "Value, as JSON", h("textarea", { name: "value", spellcheck: "false", autocapitalize: "none", value: draft?.value ?? "null" })),
    ],
    check: checked,
  });
  if (values === null) return;
  fill(place);
  try {
    const sent = await send(`${jobAddress(job.id)}/signals/${encodeURIComponent(values.name)}`, values.value,
      { headers: { "Idempotency-Key": id }, signal: page.signal });
    notice(`Signal ${sent.name} is stored for the job`);
  } catch (problem) {
    if (page.signal.aborted) return;
    fill(place, problemBox(problem),
      h("p", actButton("Send it again", () => sendSignal(page, job, place, changed, { ...values, id }), { class: "quiet" })));
  }
  changed();
}

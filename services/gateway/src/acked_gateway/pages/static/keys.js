// The keyboard: `/` filters, `j` and `k` go through a list, Enter opens, `x` chooses, `?` explains, `g` and a letter go to a page.
import { h } from "./dom.js";

const KEYS = [
  ["/", "Go to the filter"], ["j, k", "Next or previous row"], ["Enter", "Open the row"], ["x", "Choose the row"], ["?", "This help"], ["Esc", "Close"],
];
// What the pages call things.
const TERMS = [
  ["Job", "One accepted request and its work."],
  ["Kind", "The name that selects the code for a job, its handler."],
  ["Batch", "The jobs that were sent with one batch name."],
  ["Schedule", "It sends jobs of one kind at regular times; each time is a firing."],
  ["Callback", "A signed request that Acked sends to a URL when a job ends; its delivery is a job too."],
  ["Queued", "A worker may start the job as soon as it has a free slot."],
  ["Scheduled", "The job is delayed, or backs off after a failed attempt."],
  ["Waiting", "The job is parked: it waits for an instant or a signal, and holds no worker."],
  ["Signal", "A named value that is sent to a job. Its handler takes it once."],
  ["Attempt", "One start of the handler. A failed one is retried after a pause, the back-off."],
  ["Run", "The attempts until the job ends. An operator's retry begins the next run."],
  ["Slot", "Room for one running job in a worker."],
  ["Group", "Failed jobs whose errors have one cause."],
  ["Resolve", "To set the outcome of a failed job by hand."],
  ["Drain", "To stop a worker after it has finished its jobs."],
  ["p50, p95", "Half, or 95 %, of the values are at most that."],
];
const FIRST_KEY_LASTS_MS = 1500;

// A checkbox takes no text: the keys go on from one that was chosen by Space.
const isTyping = (target) => target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable], dialog") !== null;

function rows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
}

// The places of the rail, each with its letter.
const places = () => [...document.querySelectorAll("nav a[data-letter]")];

function move(step) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  (next.querySelector("a, button") ?? next).focus();
  next.scrollIntoView({ block: "nearest" });
}

export function explainKeys() {
  const close = () => dialog.close();
  const dialog = h("dialog", { class: "wide", "aria-labelledby": "keys-title" }, h("h2", { id: "keys-title" }, "Words and keys"),
    h("dl", { class: "pairs" }, TERMS.map(([term, text]) => [h("dt", term), h("dd", text)])), h("h3", { class: "next" }, "Keyboard"),
    h("dl", { class: "keys" }, [...KEYS, ...places().map((link) => [`g ${link.dataset.letter}`, link.firstChild.data.trim()])].map(([key, text]) => h("div", h("dt", h("kbd", key)), h("dd", text)))),
    h("div", { class: "row end" }, h("button", { type: "button", on: { click: close } }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  // The focus is on Close, at the end: on a phone the browser went there.
  dialog.scrollTop = 0;
}

export function attendKeys() {
  let firstAt = -Infinity;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const isSecond = performance.now() - firstAt < FIRST_KEY_LASTS_MS;
    firstAt = -Infinity;
    const place = isSecond && places().find((link) => link.dataset.letter === event.key);
    if (place) place.click();
    else if (event.key === "g") firstAt = performance.now();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "x") document.activeElement.closest?.("[data-row]")?.querySelector("input[type=checkbox]")?.click();
    else if (event.key === "/") document.querySelector("[data-filter]")?.focus();
    else if (event.key === "?") explainKeys();
    else return;
    event.preventDefault();
  });
}

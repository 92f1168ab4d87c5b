// Commands of a person: asks before it sends, says what became of it.
import { send } from "./api.js";
import { byId, fill, h, say } from "./dom.js";
import { problemBox } from "./parts.js";

// Says it in the region that screen readers read out, and on the screen for a while.
export function notice(text) {
  const place = byId("notice");
  say(place, text);
  place.hidden = false;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => { place.hidden = true; place.textContent = ""; }, 8000);
}

// Opens a dialog and resolves to the values of its fields, or to null where the person leaves it. `fields` are labels with
// inputs; `leave` is the label of the button that closes it; `check` returns or resolves to what the question resolves to,
// and may throw an Error or a Problem, which the dialog shows.
export function question({ title, text = [], fields = [], confirm, leave = "Cancel", isDangerous = false, isWide = false, check = (values) => values }) {
  return new Promise((resolve) => {
    const trouble = h("p", { class: "trouble", role: "alert" });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "question-title" }, title),
      [text].flat().map((line) => (line instanceof Node ? line : h("p", line))), fields, trouble,
      h("div", { class: "row end" },
        h("button", { type: "button", class: "quiet", on: { click: () => dialog.close() } }, leave),
        h("button", { type: "submit", class: isDangerous ? "danger" : null, value: "yes" }, confirm)));
    const dialog = h("dialog", { "aria-labelledby": "question-title", class: isWide ? "wide" : null }, form);
    let values = null;
    let isBusy = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (isBusy) return;
      isBusy = true;
      try {
        values = await check(Object.fromEntries(new FormData(form)));
        dialog.close();
      } catch (error) {
        fill(trouble, error.detail ?? error.message);
      }
      isBusy = false;
    });
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(values);
    });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector("input, textarea, select") ?? dialog.querySelector("[type=submit]")).focus();
  });
}

const MAX_REASON_CHARS = 1000;

// The field of a question that asks why; `withReason` puts what it says into the body of the command.
export const reasonField = (label = "Reason", value = "") => h("label", label, h("textarea", { name: "reason", maxlength: MAX_REASON_CHARS, class: "low", value }));

export const withReason = ({ reason }, body = {}) => (reason.trim() === "" ? body : { ...body, reason: reason.trim() });

// Sends a command, a POST unless `options` say otherwise, and says `done`; shows the problem in `place` where it was
// refused. Resolves to the response, or null.
export async function carryOut(url, body, { done, place, ...options }) {
  fill(place);
  try {
    const response = await send(url, body, options);
    notice(typeof done === "function" ? done(response) : done);
    return response;
  } catch (problem) {
    if (options.signal?.aborted) return null;
    fill(place, problemBox(problem));
    return null;
  }
}

// A button that is busy while its work lasts, so that a double click is one command.
export function actButton(label, work, attributes = {}) {
  const button = h("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await work(button);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
  return button;
}

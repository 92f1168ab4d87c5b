// Sends one job of a kind. The key is minted here and stays until the job is stored, so a second try is the same request.
import { Problem, freshKey, jobAddress, kindAddress, send } from "./api.js";
import { actButton, notice } from "./act.js";
import { fill, h } from "./dom.js";
import { shortId } from "./format.js";
import { checkedJson, withPayload } from "./json_text.js";
import { card, problemBox, textField } from "./parts.js";

export function sendForm(page, kind) {
  let key = freshKey();
  const payload = h("textarea", { name: "payload", spellcheck: "false", autocapitalize: "none" });
  payload.value = "{}";
  const place = h("div", { role: "status" });
  const form = h("form", { class: "stack" }, h("label", "Payload (JSON)", payload),
    h("div", { class: "row" }, textField("delay", "Delay in seconds", "", { type: "number", min: 0, step: "any", inputmode: "decimal" }),
      textField("batch", "Batch")));

  async function sendOnce() {
    fill(place);
    const values = Object.fromEntries(new FormData(form));
    const body = { ...(values.delay ? { delay_s: Number(values.delay) } : {}), ...(values.batch.trim() ? { batch: values.batch.trim() } : {}) };
    try {
      const json = withPayload(body, checkedJson(values.payload));
      const job = await send(`${kindAddress(kind)}/jobs`, json, { signal: page.signal, headers: { "Idempotency-Key": key } });
      key = freshKey();
      fill(place, h("p", "Accepted as ", h("a", { href: jobAddress(job.id) }, `job ${shortId(job.id)}`), "."));
      notice("The job was accepted.");
    } catch (problem) {
      if (!page.signal.aborted) fill(place, problemBox(problem instanceof Problem ? problem : new Problem("The payload is no JSON", problem.message)));
    }
  }

  const button = actButton("Send job", sendOnce);
  form.addEventListener("submit", (event) => { event.preventDefault(); button.click(); });
  form.append(h("div", button), place);
  return card("Send one", form);
}

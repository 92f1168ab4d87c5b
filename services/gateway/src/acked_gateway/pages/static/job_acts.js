// What a person may do with one job, as its state and the own permissions allow.
import { jobAddress, send } from "./api.js";
import { actButton, carryOut, notice, question } from "./act.js";
import { checkedJson, written } from "./json_text.js";
import { endableCalls, isAllowed, isTerminal, permissions, resolvedAs } from "./config.js";
import { absolute } from "./format.js";
import { fill, h } from "./dom.js";
import { problemBox } from "./parts.js";
import { sendSignal } from "./job_signals.js";

const MOST_CHARS = 1000;

export class JobActs {
  #page;
  #current;
  #changed;
  #trouble = h("div");
  #buttons = h("div", { class: "row acts" });
  #drawn = "";

  // `current()` returns the job as it is shown; `changed()` is called after each act.
  constructor(page, current, changed) {
    this.#page = page;
    this.#current = current;
    this.#changed = changed;
    this.element = h("div", this.#buttons, this.#trouble);
  }

  show(job) {
    const acts = this.#actsFor(job);
    const drawn = acts.map(([label]) => label).join();
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    fill(this.#buttons, acts.map(([label, work, look]) => actButton(label, work, { class: look ?? "quiet" })));
  }

  #actsFor(job) {
    const operates = this.#page.may(permissions.operate);
    const may = (command) => operates && isAllowed(command, job.state);
    const awaitsSignal = (job.waits?.signals.length ?? 0) > 0;
    const isErased = Boolean(job.erased_at);
    return [
      may("retry") && !isErased && ["Retry", () => this.#send("retry", "The job runs again"), "main"],
      may("edit") && !isErased && this.#page.may(permissions.submit) && ["Edit and retry", () => this.#edit()],
      may("run_now") && ["Run now", () => this.#send("run-now", "The job is queued"), "main"],
      !isTerminal(job.state) && (awaitsSignal || job.steps) && this.#page.may(permissions.signal)
        && ["Send a signal", () => sendSignal(this.#page, this.#current(), this.#trouble, this.#changed), awaitsSignal ? "main" : "quiet"],
      may("end_wait") && job.waits?.until_at && endableCalls.includes(job.waits.call)
        && ["End this sleep now", () => this.#endSleep(), awaitsSignal ? "quiet" : "main"],
      may("resolve") && ["Resolve", () => this.#resolve()],
      may("cancel") && !job.cancel_requested && ["Cancel", () => this.#cancel()],
      may("erase") && !isErased && ["Erase", () => this.#erase()],
    ].filter(Boolean);
  }

  async #send(verb, done, body) {
    await carryOut(`${jobAddress(this.#current().id)}/${verb}`, body, { done, place: this.#trouble, signal: this.#page.signal });
    this.#changed();
  }

  async #endSleep() {
    const { waits } = this.#current();
    const sure = await question({
      title: "End this sleep now?", confirm: "End the sleep", leave: "Back",
      text: [`The wait at ${waits.name} would end at ${absolute(waits.until_at)}. The handler continues as if it had ended.`,
        "Waits for signals stay as they are."],
    });
    if (sure !== null) await this.#send("run-now", "The sleep is over; the job is queued");
  }

  async #cancel() {
    const sure = await question({
      title: "Cancel this job?", text: "A job that waits ends at once. A running one is stopped by its worker.", confirm: "Cancel the job", leave: "Back", isDangerous: true,
    });
    if (sure !== null) await this.#send("cancel", "Cancelled, or its worker will stop it");
  }

  async #erase() {
    const sure = await question({
      title: "Erase the data of this job?",
      text: ["Payload, result, progress, note, errors and attempts are removed permanently.",
        "State, options and history stay. The job can't be retried or edited after that."],
      confirm: "Erase them", isDangerous: true,
    });
    if (sure !== null) await this.#send("erase", "Erased");
  }

  async #resolve() {
    const fields = [
      h("label", "State", h("select", { name: "state" }, resolvedAs.map((state) => h("option", { value: state }, state)))),
      h("label", "Result, as JSON; empty for none", h("textarea", { name: "result", spellcheck: "false" })),
      h("label", "Note for other people", h("input", { name: "note", maxlength: MOST_CHARS, autocomplete: "off" })),
    ];
    const values = await question({
      title: "Resolve this job", text: "The job ends with this outcome. No handler runs.", fields, confirm: "Resolve",
      check: (given) => { if (given.result.trim() !== "") checkedJson(given.result); return given; },
    });
    if (values === null) return;
    const note = values.note.trim() === "" ? {} : { note: values.note.trim() };
    await this.#send("resolve", "Resolved", { state: values.state, ...note, ...(values.result.trim() === "" ? {} : { result: JSON.parse(values.result) }) });
  }

  // `draft` is what the person wrote before, where it was refused.
  async #edit(draft) {
    const job = this.#current();
    const text = h("textarea", { name: "payload", class: "tall", spellcheck: "false", autocapitalize: "none", value: draft ?? written(job.payload) });
    const values = await question({
      title: "Edit and retry", fields: [h("label", "Payload, as JSON", text)], confirm: "Send it as a new job",
      text: "A new job of the same kind gets this payload. This one stays unchanged and names the new one.",
      check: (given) => ({ payload: checkedJson(given.payload) }),
    });
    if (values === null) return;
    fill(this.#trouble);
    try {
      const made = await send(`${jobAddress(job.id)}/edit`, `{"payload": ${values.payload}}`, { signal: this.#page.signal });
      notice("The new job is accepted");
      location.assign(jobAddress(made.id));
    } catch (problem) {
      if (this.#page.signal.aborted) return;
      fill(this.#trouble, problemBox(problem),
        h("p", actButton("Edit again", () => this.#edit(values.payload), { class: "quiet" })));
      this.#changed();
    }
  }
}

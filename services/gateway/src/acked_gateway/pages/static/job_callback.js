// The callbacks of a job: what its request asked for, what has become of its last end, and all deliveries, also those to
// the endpoints of the tenant.
import { address, ask, jobAddress } from "./api.js";
import { Deliveries } from "./delivery.js";
import { h, renew } from "./dom.js";
import { isTerminal } from "./config.js";
import { card } from "./parts.js";

const PAGE = 20;
const WORDS = {
  pending: "Acked calls it when the job ends.", "not-requested": "The request did not select the event of the last end.",
  due: "The job has ended; its delivery begins within a second.", sending: "The event is being delivered.", delivered: "The receiver accepted the event.",
  undelivered: "The receiver did not accept the event: all attempts failed, or an operator cancelled the delivery.",
  unknown: "The delivery is older than its retention.",
};
const UNDER_WAY = ["due", "sending"];
// Intake inserts deliveries within about a second after the end.
const BEGUN_WITHIN_MS = 5000;

export class JobCallback {
  #deliveries;
  #listed = [];
  #asked = null;
  #state = null;
  #isFresh = false;
  #words = h("p", { role: "status" });
  #about = h("p", { class: "small" });
  #older = h("p", { class: "faint small" });
  #hasOlder = false;

  // `changed()` is called after each act.
  constructor(page, changed) {
    this.#deliveries = new Deliveries(page, { namesJob: false, done: (id) => { this.#asked = id; changed(); } });
    this.element = card("Callbacks", this.#words, this.#about, this.#deliveries.element, this.#older);
    this.element.hidden = true;
  }

  // Whether nothing of it will change by itself.
  get isSettled() {
    return !this.#isFresh && !UNDER_WAY.includes(this.#state) && this.#asked === null && this.#listed.every(({ state }) => isTerminal(state));
  }

  async load({ id, state, run, finished_at: endedAt }, signal) {
    if (!isTerminal(state) && run === 1) return;
    this.#isFresh = isTerminal(state) && Date.now() - Date.parse(endedAt) < BEGUN_WITHIN_MS;
    const found = await ask(address(`${jobAddress(id)}/callbacks`, { page_size: PAGE }), { signal });
    this.#listed = found.deliveries;
    this.#hasOlder = found.next_page_token !== "";
    if (this.#listed.some((delivery) => delivery.id === this.#asked)) this.#asked = null;
  }

  show({ id, callback }) {
    this.element.hidden = !callback && this.#listed.length === 0;
    this.#state = callback?.state ?? null;
    renew(this.#words, this.#state, () => callback && (WORDS[callback.state] ?? callback.state));
    renew(this.#about, callback ?? null, () => callback && [h("code", "POST"), " ", callback.url, h("span", { class: "faint" }, `, at ${callback.events.join(", ")}`)]);
    this.#deliveries.show(this.#listed);
    renew(this.#older, this.#hasOlder, () => this.#hasOlder && ["These are the newest. ", h("a", { href: address("/jobs", { tag: `callback:${id}` }) }, "List the jobs of all")]);
  }
}

// One delivery of a callback: what was sent, what came back with each attempt, and the button that sends its event again.
import { jobAddress } from "./api.js";
import { actButton, carryOut } from "./act.js";
import { isTerminal, permissions } from "./config.js";
import { h, keyedParts, renew } from "./dom.js";
import { absolute, duration, shortId, time } from "./format.js";
import { longText } from "./job_bodies.js";
import { written } from "./json_text.js";
import { list, stateChip } from "./parts.js";

const HEADS = [["Attempt"], ["Sent"], ["Took"], ["Response"], ["Error"]];

// An event of one receiver: it may have several deliveries, one after the other.
const keyOf = ({ webhook_id: event, endpoint }) => `${event} ${endpoint}`;

const statusOf = ({ response, error }) => (response === null ? error ?? "no response" : String(response.status));

// "2 attempts, the last: 500 after 120 ms": opens the details.
function lastOf({ attempts, next_attempt_at: next, state }) {
  const last = attempts.at(-1);
  if (last === undefined) return isTerminal(state) ? "It ended without an attempt." : "No attempt has ended yet.";
  const times = attempts.length === 1 ? "One attempt: " : `${attempts.length} attempts, the last: `;
  return [`${times}${statusOf(last)}${last.duration_s === null ? "" : ` after ${duration(last.duration_s)}`}`, next && [", the next one ", time(next)]];
}

const pre = (label, text) => (text === "" ? h("p", { class: "faint" }, `${label}: none`) : h("pre", { tabindex: "0", "aria-label": label }, text));

const responseOf = ({ status, headers, body, is_cut: isCut }) => h("details", h("summary", `Status ${status}`),
  pre("Headers of the response", Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join("\n")), pre("Body of the response", body), isCut && h("p", { class: "faint" }, "The first 4 KiB."));

const attemptRow = ({ run, attempt, started_at: startedAt, duration_s: took, response, error }) => h("tr",
  [run > 1 ? `${attempt}, run ${run}` : attempt, startedAt === null ? "–" : absolute(startedAt), duration(took), response === null ? "none" : responseOf(response), error ?? "–"]
    .map((value, at) => h("td", { "data-label": HEADS[at][0] }, value)));

function detailsOf(delivery) {
  return [h("h3", "Attempts"), delivery.attempts.length === 0 ? h("p", { class: "faint" }, "None has ended.") : list("Attempts, oldest first", HEADS, h("tbody", delivery.attempts.map(attemptRow)), "attempts"),
    h("h3", "What is sent"), h("dl", { class: "pairs" }, h("dt", "webhook-id"), h("dd", h("code", delivery.webhook_id)),
      h("dt", "Sent by"), h("dd", h("a", { href: jobAddress(delivery.id), title: delivery.id }, `job ${shortId(delivery.id)}`))),
    longText(written(delivery.body), "Body of the request")];
}

class Delivery {
  #chip = h("span");
  #last = h("summary");
  #act = h("div");
  #trouble = h("div");
  #more = h("div");
  #page;
  #done;

  constructor(page, { job, event, endpoint, url, accepted_at: at, resend }, namesJob, done) {
    this.#page = page;
    this.#done = done;
    this.element = h("li", { "data-row": "" },
      h("div", { class: "side" }, h("span", { class: "row center" }, this.#chip, h("code", event), namesJob && h("span", "of ", h("a", { href: jobAddress(job), title: job }, `job ${shortId(job)}`)),
        resend > 0 && h("span", { class: "faint" }, `resend ${resend}`)), time(at)),
      h("div", { class: "head" }, h("p", endpoint !== null && [h("strong", endpoint), ": "], h("code", "POST"), " ", url), this.#act), this.#trouble,
      h("details", this.#last, this.#more));
  }

  // `isNewest`: there is no newer delivery of the same event.
  show({ delivery, isNewest }) {
    const { state, attempts, next_attempt_at: next } = delivery;
    renew(this.#chip, state, () => stateChip(state));
    renew(this.#last, [attempts.length, next, state], () => lastOf(delivery));
    renew(this.#more, delivery, () => detailsOf(delivery));
    const may = isNewest && isTerminal(state) && this.#page.may(permissions.operate);
    renew(this.#act, may, () => may && actButton("Send again", () => this.#resend(delivery), { class: "quiet small", "aria-label": `Send ${delivery.event} of job ${shortId(delivery.job)} again` }));
  }

  async #resend({ id, job }) {
    const sent = await carryOut(`${jobAddress(job)}/callbacks/${id}/resend`, undefined, { done: "The event will be sent again.", place: this.#trouble, signal: this.#page.signal });
    if (sent !== null) this.#done(sent.id);
  }
}

// The deliveries of a list. `namesJob`: each says of which job it is. `done` gets the id of a delivery that was asked for.
export class Deliveries {
  #page;
  #options;
  element = h("ul", { class: "lines deliveries" });

  constructor(page, { namesJob, done }) {
    this.#page = page;
    this.#options = [namesJob, done];
  }

  show(deliveries) {
    const newest = new Map();
    for (const one of deliveries) newest.set(keyOf(one), Math.max(one.resend, newest.get(keyOf(one)) ?? 0));
    const items = deliveries.map((delivery) => ({ delivery, isNewest: delivery.resend === newest.get(keyOf(delivery)) }));
    keyedParts(this.element, items, ({ delivery }) => delivery.id, ({ delivery }) => new Delivery(this.#page, delivery, ...this.#options));
  }
}

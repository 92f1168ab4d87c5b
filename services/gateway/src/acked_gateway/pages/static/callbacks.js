// The callbacks of the tenant: the secrets that sign them, the endpoints that get the events of its jobs, and all deliveries with what became of each.
import { actButton, carryOut, question } from "./act.js";
import { address, ask } from "./api.js";
import { CallbackEndpoints } from "./callback_endpoints.js";
import { Deliveries } from "./delivery.js";
import { permissions } from "./config.js";
import { fill, h, renew } from "./dom.js";
import { time } from "./format.js";
import { card, copyButton, emptyPlace, list, skeleton, stateLinks } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 3000;
const PAGE = 20;
const SECRETS = "/callback-secrets";
const ENDPOINTS = "/callback-endpoints";

// The secrets of the tenant. The value of a new one is shown in this page alone, until it is left.
class Secrets {
  #page;
  #changed;
  #made = h("div", { role: "status" });
  #trouble = h("div");
  #list = h("div");
  #make = h("div", { class: "more" });

  constructor(page, changed) {
    this.#page = page;
    this.#changed = changed;
    this.element = card("Secrets", h("p", { class: "small" }, "They sign callbacks, by Standard Webhooks. After a rotation the previous one signs for one more day."),
      this.#made, this.#trouble, this.#list, this.#make);
  }

  show({ secrets }) {
    const many = secrets.length;
    renew(this.#list, secrets, () => (many === 0 ? emptyPlace("No secret signs callbacks yet.", "Until there is one, deliveries fail and are retried.")
      : list("Secrets that sign now, newest first", [["Secret"], ["Made"], ["Signs"], ["Acts"]], h("tbody", secrets.map((one) => this.#row(one))), "secrets")));
    const label = many === 0 ? "Make a secret" : "Rotate the secret";
    renew(this.#make, many, () => (many < 2 ? actButton(label, () => this.#rotate(many), { class: many === 0 ? null : "quiet" })
      : h("p", { class: "faint small" }, "Only two sign at a time: rotate again when the earlier one has ended.")));
  }

  #row({ id, made_at: madeAt, ends_at: endsAt }) {
    return h("tr", { "data-row": "" }, h("th", { scope: "row" }, h("code", id)), h("td", { "data-label": "Made" }, time(madeAt)),
      h("td", { "data-label": "Signs" }, endsAt === null ? "until it is rotated" : ["until ", time(endsAt)]),
      h("td", actButton("End", () => this.#end(id), { class: "quiet small", "aria-label": `End ${id}` })));
  }

  async #rotate(many) {
    const sure = many === 0 || await question({
      title: "Rotate the secret?", text: "The new secret signs at once. The previous one signs for one more day, so that receivers can change.", confirm: "Make a new secret",
    });
    if (!sure) return;
    const made = await carryOut(SECRETS, undefined, { done: "The secret is made.", place: this.#trouble, signal: this.#page.signal });
    if (made !== null) {
      fill(this.#made, h("section", { class: "card", "aria-label": "The new secret" }, h("p", { class: "strong" }, "The new secret is shown only now. Store it where receivers read it."),
        h("p", h("code", made.secret), " ", copyButton(made.secret, "Copy", "Copy the secret")),
        h("button", { type: "button", class: "quiet small", on: { click: () => fill(this.#made) } }, "I have stored it")));
    }
    this.#changed();
  }

  async #end(id) {
    const sure = await question({
      title: `End ${id}?`, text: "It stops signing at once: receivers that know only this secret refuse events. Without any secret, deliveries fail and are retried.",
      confirm: "End the secret", isDangerous: true,
    });
    if (sure === null) return;
    await carryOut(`${SECRETS}/${encodeURIComponent(id)}/end`, undefined, { done: "The secret is ended.", place: this.#trouble, signal: this.#page.signal });
    this.#changed();
  }
}

export function show(page) {
  page.setTitle("Callbacks");
  const mayOperate = page.may(permissions.operate);
  let refresh = null;
  const secrets = new Secrets(page, () => refresh.now());
  const endpoints = new CallbackEndpoints(page, () => refresh.now());
  const deliveries = new Deliveries(page, { namesJob: true, done: () => refresh.now() });
  const given = page.asked;
  const none = h("div");
  const more = h("p", { class: "more" });
  const listed = card("Deliveries", h("p", { class: "small" }, "A job delivers each event, and its state stands here. One that failed has no attempt left: the receiver does not have the event until it is sent again."), stateLinks(given.state, (state) => address("/callbacks", { state })), deliveries.element, none, more);
  let isFirst = true;
  fill(page.main, skeleton(8));
  refresh = new Refresh(page, {
    everyMs: EVERY_MS,
    load: async (signal) => {
      const ofOperators = mayOperate ? [ask(SECRETS, { signal }), ask(ENDPOINTS, { signal })] : [];
      const [found, signing = null, defined = null] = await Promise.all([ask(address("/callbacks", { page_size: PAGE, ...given }), { signal }), ...ofOperators]);
      return { ...found, signing, defined };
    },
    show: ({ deliveries: found, next_page_token: next, signing, defined }) => {
      // Without a secret no delivery arrives: then it is the first thing to do.
      if (isFirst) fill(page.main, !mayOperate ? listed : signing.secrets.length === 0 ? [secrets.element, endpoints.element, listed] : [endpoints.element, listed, secrets.element]);
      isFirst = false;
      if (signing !== null) secrets.show(signing);
      if (defined !== null) endpoints.show(defined);
      deliveries.show(found);
      renew(none, found.length === 0, () => found.length === 0 && (given.state ? emptyPlace("No delivery is in this state.", h("a", { href: "/callbacks" }, "All deliveries"))
        : emptyPlace("No callback was delivered yet.", ["A request may name a URL that is called when its job ends: ", h("code", "acked submit demo --callback URL")])));
      renew(more, next, () => next !== "" && h("a", { href: address("/callbacks", { ...given, page_token: next }) }, "Older deliveries"));
    },
  });
}

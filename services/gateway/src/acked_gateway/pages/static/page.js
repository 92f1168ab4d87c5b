// The page around a view: its title, its line to the gateway, who is signed in, what ends with it.
import { FORBIDDEN, UNAUTHORIZED, address, ask } from "./api.js";
import { byId, fill, h, say } from "./dom.js";
import { relative } from "./format.js";
import { emptyPlace, problemBox, skeleton, textField } from "./parts.js";
import { forgetToken, shownToken, useToken } from "./token.js";

const NAME = "Acked";

// Whether a request failed for want of a token that may read.
export const asksToSignIn = ({ document }) => document?.status === UNAUTHORIZED || document?.status === FORBIDDEN;

// Parameters of the address that the gateway refused: a link to the page without them.
function wayOut({ document }) {
  const names = (document?.errors ?? []).map(({ pointer }) => pointer).filter((pointer) => pointer?.startsWith("?")).map((pointer) => pointer.slice(1));
  if (names.length === 0) return null;
  const rest = [...new URLSearchParams(location.search)].filter(([name]) => !names.includes(name));
  return h("p", h("a", { class: "button quiet", href: address(location.pathname, Object.fromEntries(rest)) }, `Remove ${names.join(", ")} from the address`));
}

export class Page {
  #ended = new AbortController();
  #title = NAME;
  #heardAt = null;
  #isLost = false;

  // `match` is that of the address: its groups are the parameters of the path.
  constructor(match, main) {
    this.main = main;
    this.parameters = Object.fromEntries(Object.entries(match?.groups ?? {}).map(([name, value]) => [name, decodeURIComponent(value)]));
    this.query = new URLSearchParams(location.search);
    // The own token: tenant, client, permissions. Null until `meet` has resolved.
    this.own = null;
    addEventListener("pagehide", () => this.#ended.abort());
  }

  // The parameters of the address, which are those of the API.
  get asked() {
    return Object.fromEntries(this.query);
  }

  // Aborts when the page ends.
  get signal() {
    return this.#ended.signal;
  }

  // State that is no parameter of the API stands behind `#`.
  get hash() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  }

  setHash(values) {
    const merged = Object.entries({ ...this.hash, ...values }).filter(([, value]) => value !== null && value !== "");
    history.replaceState(null, "", merged.length === 0 ? location.pathname + location.search : `#${new URLSearchParams(merged)}`);
  }

  // Asks who is signed in; throws the Problem of a missing token or permission.
  async meet() {
    const { own, asks_for_tokens: asks } = await ask("/tokens", { signal: this.signal });
    this.own = own;
    const place = byId("who");
    if (asks) {
      fill(place, h("a", { href: "/tokens" }, own.client), " ",
        h("button", { type: "button", class: "quiet small", on: { click: () => { forgetToken(); location.reload(); } } }, "Sign out"));
    } else fill(place, h("a", { href: "/tokens" }, "no token needed"));
  }

  may(permission) {
    return this.own !== null && this.own.permissions.includes(permission);
  }

  // How a command for a terminal begins: with a token from the environment where the gateway asks for one.
  get curl() {
    return this.own.token_id === null ? "curl" : "curl -H \"Authorization: Bearer $ACKED_TOKEN\"";
  }

  // Kinds and workers are shared by all tenants: only the tenant `default` may change them.
  get isOfDefaultTenant() {
    return this.own?.tenant === "default";
  }

  // `heading` is the h1; `title` that of the tab, where it says more.
  setTitle(heading, title = heading) {
    this.#title = `${title} · ${NAME}`;
    say(byId("title"), heading);
    this.#showTitle();
  }

  // The gateway has responded, or its feed is live.
  heard() {
    this.#heardAt = new Date().toISOString();
    this.#isLost = false;
    this.#showLine("live", "Live");
  }

  // It did not respond, or only with the fault of a server behind it; what is shown is as old as the last response.
  lost(problem) {
    const hasResponded = problem?.document?.status !== undefined;
    this.#isLost = !hasResponded;
    const what = hasResponded ? problem.title : "No connection";
    this.#showLine("lost", this.#heardAt === null ? `${what}, trying again …` : `${what}, figures from ${relative(this.#heardAt)}`);
  }

  get isLost() {
    return this.#isLost;
  }

  // What a person sees where the view can't go on.
  failed(error) {
    const { status } = error.document ?? {};
    // What was shown is of another person's token, or of one that has ended: the page begins anew.
    if (status === UNAUTHORIZED) this.signIn(error).then(() => location.reload());
    else fill(this.main, problemBox(error), wayOut(error));
    // A page that has never heard anything has no line to be told of.
    if (this.#heardAt === null) byId("line").hidden = true;
  }

  // Resolves when a person has given a token, which may be a wrong one.
  signIn(problem) {
    const label = textField("token", "Token", "", { type: "password", required: true });
    const field = label.querySelector("input");
    const form = h("form", { class: "card stack" }, h("h2", "With a token"),
      h("p", "This gateway requires a token. It stays in this tab, and is sent in a header only."),
      label, h("div", h("button", { type: "submit" }, "Sign in")),
      h("p", { class: "faint" }, "No token yet? An administrator makes one: ", h("code", "./just token make --client you --may read,operate")));
    this.heard();
    this.setTitle("Sign in");
    fill(this.main, form, shownToken() === "" ? null : problemBox(problem));
    field.focus();
    return new Promise((resolve) => {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        useToken(field.value);
        fill(this.main, skeleton());
        resolve();
      });
    });
  }

  notFound() {
    this.setTitle("Not found");
    byId("line").hidden = true;
    fill(this.main, emptyPlace(`Nothing is at ${location.pathname}.`, h("a", { href: "/" }, "Go to the overview")));
  }

  #showLine(state, text) {
    const line = byId("line");
    line.hidden = false;
    if (line.dataset.line !== state) line.dataset.line = state;
    say(line, text);
    document.body.classList.toggle("stale", state === "lost");
    this.#showTitle();
  }

  #showTitle() {
    document.title = this.#isLost ? `(offline) ${this.#title}` : this.#title;
  }
}

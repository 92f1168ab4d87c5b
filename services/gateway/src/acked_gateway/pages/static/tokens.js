// Who is signed in, what the token allows, and the active tokens of the tenant.
import { ask } from "./api.js";
import { h, renew } from "./dom.js";
import { time } from "./format.js";
import { card, command, emptyPlace, table } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 10_000;
const MEANINGS = {
  submit: "send requests for work",
  read: "read jobs, lists and figures",
  operate: "cancel, retry, resolve, pause and drain",
  signal: "send signals to jobs that wait",
  worker: "report as a worker",
};

const never = "no end";
const allowed = (permissions) => permissions.join(", ");

function ownCard({ own, asks_for_tokens: asks }) {
  return card("You", asks ? null : h("p", "This gateway asks for no token: whoever reaches its port may do everything."),
    h("dl", { class: "pairs" },
      h("dt", "Client"), h("dd", own.client), h("dt", "Tenant"), h("dd", own.tenant),
      h("dt", "May"), h("dd", own.permissions.map((permission) => h("div", h("strong", permission), `: ${MEANINGS[permission] ?? permission}`))),
      h("dt", "Token"), h("dd", own.token_id === null ? "none" : h("code", own.token_id)),
      h("dt", "Ends"), h("dd", own.expires_at === null ? never : time(own.expires_at))));
}

function row(token, own) {
  return h("tr", { "data-row": "" }, h("td", token.client, token.id === own.token_id && h("span", { class: "faint" }, " (you)")),
    h("td", h("code", token.id)), h("td", allowed(token.permissions)), h("td", time(token.made_at)),
    h("td", token.expires_at === null ? never : time(token.expires_at)));
}

function tenantCard({ own, asks_for_tokens: asks, tokens, is_complete: isComplete }, mayOperate) {
  if (!asks) return card("Require tokens", h("p", "Make a token, then let the services require one:"),
    command("./just token make --client you --may read,operate\n./just settings ACKED_ACCESS=tokens\n./just restart"));
  const make = [h("h3", "Make and revoke tokens"), command("./just token make --client billing --may submit,read\n./just token revoke <id>")];
  if (!mayOperate) return card("Tokens of this tenant", emptyPlace("Your token can't list them.", "It needs the permission operate."), make);
  return card("Tokens of this tenant", !isComplete && h("p", "There are more; the first 1,000 are listed."),
    table("Active tokens", ["Client", "Id", "May", "Made", "Ends"], h("tbody", tokens.map((token) => row(token, own)))), make);
}

export function show(page) {
  page.setTitle("Tokens");
  new Refresh(page, {
    everyMs: EVERY_MS,
    load: (signal) => ask("/tokens", { signal }),
    show: (found) => renew(page.main, found, () => [ownCard(found), tenantCard(found, page.may("operate"))]),
  });
}

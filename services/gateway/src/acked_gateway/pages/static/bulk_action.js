// One bulk action: how far it is, what was asked for, and what was refused.
import { NOT_FOUND, address, ask, bulkAddress, jobAddress } from "./api.js";
import { BulkProgress } from "./bulk.js";
import { choiceOf } from "./bulk_actions.js";
import { VERBS, hasEnded, nameOf, refusedCount } from "./bulk_words.js";
import { fill, h, renew } from "./dom.js";
import { duration, rate, time } from "./format.js";
import { card, emptyPlace, fact, table } from "./parts.js";

function facts(action) {
  const { started_at: startedAt, ended_at: endedAt, abort_requested_by: abortedBy } = action;
  const took = endedAt && startedAt ? (Date.parse(endedAt) - Date.parse(startedAt)) / 1000 : null;
  return [
    fact("Action", VERBS[action.action]?.name ?? action.action), fact("Jobs", choiceOf(action)),
    fact("Plan", "Jobs accepted before ", time(action.planned_at), "; later ones stay unchanged"),
    fact("Rate", action.rate_per_s === null ? "as fast as possible" : `at most ${action.rate_per_s} jobs per second`),
    fact("By", action.by.client, action.by.token_id && [", token ", h("code", action.by.token_id)]), action.reason && fact("Reason", action.reason),
    fact("Requested", time(action.asked_at), ", ", h("a", { href: address("/audit", { bulk_action: action.id }) }, "entry of the audit")), startedAt && fact("Started", time(startedAt)),
    abortedBy && fact("Abort asked for", abortedBy.client, " ", time(action.abort_requested_at)),
    endedAt && fact("Ended", time(endedAt), took > 0 && `, after ${duration(took)}, ${rate(action.done / took)} jobs per second`),
    action.failure && fact("Failure", action.failure), fact("Id", h("code", action.id)),
  ];
}

const refusedRow = ({ id, detail }) => h("tr", { "data-row": "" }, h("td", h("a", { href: jobAddress(id) }, id)), h("td", detail));

export async function show(page) {
  page.setTitle("Bulk action");
  let action;
  try {
    action = await ask(bulkAddress(page.parameters.id), { signal: page.signal });
  } catch (problem) {
    if (problem.document?.status !== NOT_FOUND) throw problem;
    fill(page.main, emptyPlace("No bulk action has this id.", "Actions are stored until 30 days after their end.", h("a", { href: "/bulk-actions" }, "All bulk actions")));
    return;
  }
  const [pairs, rows] = [h("dl", { class: "pairs" }), h("tbody")];
  const refused = card("Refused jobs", table("Up to 20 examples", ["Job", "Why"], rows));
  const shown = (found) => {
    page.setTitle(nameOf(found), `${found.progress === null || hasEnded(found) ? "" : `${Math.floor(found.progress * 100)} % `}${nameOf(found)}`);
    const { started_at: startedAt, ended_at: endedAt, abort_requested_at: abortedAt } = found;
    renew(pairs, [startedAt, endedAt, abortedAt], () => facts(found));
    renew(rows, found.refused_examples, () => found.refused_examples.map(refusedRow));
    refused.hidden = refusedCount(found) === 0;
  };
  shown(action);
  fill(page.main, h("section", { class: "card", "aria-label": "Progress" }, new BulkProgress(page, action, { whenSeen: shown, isAlone: true }).element),
    card("Request", pairs), refused);
}

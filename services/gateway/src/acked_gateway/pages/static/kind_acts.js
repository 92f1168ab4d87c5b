// Pause, resume and limit of a kind, asked for in a dialog.
import { actButton, carryOut, question, reasonField, withReason } from "./act.js";
import { kindAddress } from "./api.js";
import { permissions } from "./config.js";
import { h } from "./dom.js";
import { limitWords } from "./format.js";

const MOST_RUNNING = 10_000;

// Kinds are shared by all tenants, so only clients of the tenant `default` may stop or limit one.
const mayPause = (page) => page.may(permissions.operate) && page.isOfDefaultTenant;

async function pause(page, kind, place, done) {
  const given = await question({
    title: `Pause ${kind}`,
    text: "Within two seconds, jobs of this kind stop starting. Running jobs continue, and requests are accepted as before.",
    fields: [reasonField("Reason (shown to all clients that read its jobs)")],
    confirm: "Pause the kind",
    isDangerous: true,
  });
  if (given === null) return;
  await carryOut(`${kindAddress(kind)}/pause`, withReason(given), { done: `${kind} is paused.`, place, signal: page.signal });
  done();
}

async function resume(page, kind, place, done) {
  await carryOut(`${kindAddress(kind)}/resume`, undefined, { done: `${kind} goes on.`, place, signal: page.signal });
  done();
}

// The button that a kind needs: `place` takes problems, `done` is called afterwards.
export function pauseButton(page, { kind, paused }, place, done) {
  if (!mayPause(page)) return null;
  const [label, act] = paused === null ? ["Pause", pause] : ["Resume", resume];
  return actButton(label, () => act(page, kind, place, done), { class: "quiet small", "aria-label": `${label} ${kind}` });
}

const number = (name, label, value) => h("label", label, h("input", { name, type: "number", min: 1, max: MOST_RUNNING, step: 1, inputmode: "numeric", value: value ?? "" }));

// The numbers of the form; an empty one is no limit.
function checked({ in_all: inAll, per_tenant: perTenant, ...more }) {
  const given = { running: inAll === "" ? null : Number(inAll), per_tenant: perTenant === "" ? null : Number(perTenant) };
  if (given.running === null && given.per_tenant === null) throw new Error("Enter one of the two numbers.");
  if (given.running !== null && given.per_tenant > given.running) throw new Error("The limit per tenant must not exceed the total.");
  return withReason(more, given);
}

async function limit(page, { kind, limit: before }, place, done) {
  const given = await question({
    title: `Limit ${kind}`,
    text: "No job of this kind starts beyond the limit. Running jobs continue and count; the others wait without a slot, and start as those end.",
    fields: [number("in_all", "Running at once, over all workers and tenants", before?.running), number("per_tenant", "Of each tenant", before?.per_tenant), reasonField("Reason", before?.reason ?? "")],
    confirm: "Set the limit",
    check: checked,
  });
  if (given === null) return;
  await carryOut(`${kindAddress(kind)}/limit`, given, { done: `${kind} is limited to ${limitWords(given)}.`, place, signal: page.signal });
  done();
}

async function unlimit(page, { kind }, place, done) {
  await carryOut(`${kindAddress(kind)}/unlimit`, undefined, { done: `${kind} has no limit now.`, place, signal: page.signal });
  done();
}

// The buttons for the limit of a kind: set or change it, and remove it.
export function limitButtons(page, kind, place, done) {
  if (!mayPause(page)) return [];
  const button = (label, act) => actButton(label, () => act(page, kind, place, done), { class: "quiet small", "aria-label": `${label} of ${kind.kind}` });
  return kind.limit === null ? [button("Set a limit", limit)] : [button("Change limit", limit), button("Remove limit", unlimit)];
}

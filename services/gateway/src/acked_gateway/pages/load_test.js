// Runs the load test that the address asks for, then follows its batch. By itself it does so only with the one-time value
// that the gateway has put into it, else it waits for a click. An address with a batch only follows it, so that a reload,
// a step back or a shared link starts nothing.
import { BatchNews, askBatch } from "./batch_news.js";
import { Line } from "./feed.js";
import { ask, attendAccess, byId, pause, showProblem } from "./shared.js";

const SUBSCRIBED_WITHIN_MS = 1000;
const ASK_AGAIN_MS = 500;
const SHOW_ELAPSED_EVERY_MS = 100;

const states = document.body.dataset.states.split(" ");
const terminalStates = new Set(document.body.dataset.terminalStates.split(" "));
const colours = document.body.dataset.colours.split(" ");
const rows = new Map();
const whole = new Intl.NumberFormat("en");
const lineWords = {
  [Line.CONNECTING]: "Connecting to the live feed …",
  [Line.LIVE]: "Live.",
  [Line.LOST]: "The connection is lost, reconnecting …",
  [Line.BLOCKED]: "The live feed can't be reached from here: asking twice a second instead.",
};
let current = null;
let beganAt = 0;

const say = (text) => { byId("doing").textContent = text; };
const tellLine = (line) => { byId("line").textContent = lineWords[line] ?? ""; };
const ms = (value) => (value == null ? "–" : `${value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 })} ms`);
const seconds = (value) => (value == null ? "–" : `${value.toFixed(1)} s`);

const ended = (answer) => Object.entries(answer.states)
  .reduce((sum, [state, count]) => sum + (terminalStates.has(state) ? count : 0), 0);

function rowOf(state, batch) {
  if (rows.has(state)) return rows.get(state);
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const link = document.createElement("a");
  link.textContent = state;
  link.href = `/jobs?${new URLSearchParams({ batch, state })}`;
  link.dataset.json = "";
  head.append(link);
  const share = document.createElement("td");
  const track = document.createElement("div");
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  const fill = document.createElement("div");
  fill.className = "fill";
  fill.style.background = colours[states.indexOf(state)] ?? "gray";
  track.append(fill);
  share.append(track);
  const count = document.createElement("td");
  row.append(head, share, count);
  byId("states").append(row);
  const made = { row, fill, count };
  rows.set(state, made);
  return made;
}

function showBatch(answer) {
  byId("batch").hidden = false;
  const done = ended(answer);
  byId("ended").textContent = `${whole.format(done)} of ${whole.format(answer.total)} jobs have ended`;
  byId("ended-bar").max = Math.max(answer.total, 1);
  byId("ended-bar").value = done;
  for (const state of new Set([...states, ...Object.keys(answer.states)])) {
    const jobs = answer.states[state] ?? 0;
    const { row, fill, count } = rowOf(state, answer.batch);
    row.classList.toggle("none", jobs === 0);
    fill.style.width = `${(100 * jobs) / Math.max(answer.total, 1)}%`;
    count.textContent = whole.format(jobs);
  }
}

function showFigures(result) {
  byId("figures").hidden = false;
  for (const place of document.querySelectorAll("[data-calls]")) {
    place.textContent = whole.format(result[place.dataset.calls]);
  }
  byId("failed-figure").classList.toggle("bad", result.failed > 0);
  byId("duration").textContent = ms(result.duration_ms);
  for (const name of ["p50", "p95", "p99", "max"]) byId(name).textContent = ms(result.latency_ms?.[name]);
  const failures = Object.entries(result.failures ?? {});
  byId("failures").hidden = failures.length === 0;
  byId("failure-list").replaceChildren(...failures.map(([reason, count]) => {
    const line = document.createElement("li");
    line.textContent = `${reason}: ${whole.format(count)}`;
    return line;
  }));
}

function nameBatch(batch) {
  byId("batch-name").textContent = batch;
  byId("batch-link").href = `/batches/${encodeURIComponent(batch)}`;
  byId("jobs-link").href = `/jobs?${new URLSearchParams({ batch })}`;
}

function clear() {
  showProblem(null);
  byId("figures").hidden = true;
  byId("batch").hidden = true;
  byId("states").replaceChildren();
  rows.clear();
}

function showElapsed() {
  byId("elapsed").textContent = seconds(Math.max(Date.now() - beganAt, 0) / 1000);
}

// Runs `work(signal)` with Stop at hand and ends what ran before.
async function attended(work) {
  current?.abort();
  const mine = new AbortController();
  current = mine;
  clear();
  byId("stop").hidden = false;
  beganAt = Date.now();
  const clock = setInterval(showElapsed, SHOW_ELAPSED_EVERY_MS);
  try {
    await work(mine.signal);
  } catch (problem) {
    if (current !== mine) return;
    if (mine.signal.aborted) {
      say("Stopped. Jobs that were kept go on.");
    } else {
      say("The test did not succeed.");
      showProblem(problem);
    }
  } finally {
    clearInterval(clock);
    // Ends what still follows.
    mine.abort();
    if (current === mine) {
      byId("stop").hidden = true;
      tellLine(null);
    }
  }
}

function newBatchName() {
  const at = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const random = crypto.getRandomValues(new Uint8Array(3));
  return `load-${at}-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function newsOf(batch, signal) {
  const show = (answer) => { if (answer.total > 0) showBatch({ batch, ...answer }); };
  // What an earlier test was told late is nothing to this one.
  const tell = (line) => { if (!signal.aborted) tellLine(line); };
  return new BatchNews(batch, { show, tellLine: tell, tellProblem: showProblem, signal });
}

async function followToTheEnd(batch, news, signal, atLeast = 1) {
  const isDone = (answer) => answer.total >= atLeast && ended(answer) === answer.total;
  let last;
  do {
    // What was the end before the line was lost need not be the end.
    if (last !== undefined) await pause(ASK_AGAIN_MS, signal);
    await news.until(isDone);
    last = await askBatch(batch, showProblem, signal);
  } while (!isDone(last));
  showBatch(last);
  const duration = last.duration_s == null ? "" : `, ${seconds(last.duration_s)} from the first call to the last end`;
  if (last.duration_s != null) beganAt = Date.now() - last.duration_s * 1000;
  showElapsed();
  say(`All ${whole.format(last.total)} jobs have ended${duration}.`);
}

// The figures of the calls; null where the gateway went away before it could tell them, and calls were kept.
async function makeCalls(query, batch, once, signal) {
  const proof = once === undefined ? {} : { "Acked-Run-Once": once };
  try {
    return await ask(`/load-test?${query}`, { method: "POST", signal, headers: proof });
  } catch (problem) {
    if (problem.document?.requested != null) showFigures(problem.document);
    if (signal.aborted || problem.document?.status != null) throw problem;
    showProblem(problem);
    await askBatch(batch, showProblem, signal);
    return null;
  }
}

// `once` is the one-time value, where no person has pressed Run.
function run(count, kind, batch = newBatchName(), once = undefined) {
  return attended(async (signal) => {
    nameBatch(batch);
    // Before anything is started: whoever comes to this address again only follows.
    history.replaceState(null, "", `?${new URLSearchParams({ count, kind, batch })}`);
    say(`Making ${count} calls at once …`);
    // Before the first job is there, so that all of its moves are seen; without a line the test begins all the same.
    const news = newsOf(batch, signal);
    await Promise.race([news.until(() => true), pause(SUBSCRIBED_WITHIN_MS, signal)]);
    beganAt = Date.now();
    const result = await makeCalls(new URLSearchParams({ count, kind, batch }), batch, once, signal);
    if (result !== null) {
      showFigures(result);
      say(`${whole.format(result.persisted)} calls are persisted. Following their jobs …`);
    } else {
      say("The gateway went away while it made the calls. Following the jobs that were kept …");
    }
    await followToTheEnd(batch, news, signal, result?.persisted);
  });
}

function followOnly(batch) {
  return attended(async (signal) => {
    say("Following the batch …");
    nameBatch(batch);
    const answer = await askBatch(batch, showProblem, signal);
    if (answer.first_at) beganAt = Date.parse(answer.first_at);
    showBatch(answer);
    await followToTheEnd(batch, newsOf(batch, signal), signal);
  });
}

async function suggestKinds() {
  try {
    const { kinds } = await ask("/kinds");
    byId("kinds").replaceChildren(...kinds.map(({ kind }) => new Option(kind, kind)));
  } catch {
    // Only suggestions: any kind can be typed.
  }
}

const asked = new URLSearchParams(location.search);

// What the page does without a click: follows the batch that the address names, or runs the test that a person has asked
// for by the address. A page that is loaded ahead, again or from the history waits.
function begin() {
  const { runOnce, runBatch } = document.body.dataset;
  const isNew = performance.getEntriesByType("navigation")[0]?.type === "navigate" && !document.prerendering;
  suggestKinds();
  if (asked.get("batch")) followOnly(asked.get("batch"));
  // What the address says goes to the gateway as it is, so that a bad count gets the gateway's own words.
  else if (runOnce && isNew) {
    run(asked.get("count") || form.elements.count.value, asked.get("kind") || form.elements.kind.value, runBatch, runOnce);
  } else say("Ready. Press Run to start.");
}

attendAccess(begin);
const form = byId("form");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run(form.elements.count.value, form.elements.kind.value.trim());
});
byId("stop").addEventListener("click", () => current?.abort());

for (const name of ["count", "kind"]) if (asked.get(name)) form.elements[name].value = asked.get(name);
begin();

// The workers that live: slots, what runs longest, and drain.
import { actButton, carryOut, question } from "./act.js";
import { address, ask, jobAddress, kindAddress } from "./api.js";
import { permissions } from "./config.js";
import { fill, h, keyed, keyedParts, say } from "./dom.js";
import { count, plural, shortId, time } from "./format.js";
import { command, emptyPlace, mark } from "./parts.js";
import { Refresh } from "./refresh.js";

const EVERY_MS = 2000;
const MOST_SHOWN = 200;
const MOST_KINDS = 30;
const JOBS_SHOWN = 5;
// A worker tells so many of its jobs.
const JOBS_TOLD = 20;

async function drain(page, worker, place, done) {
  const sure = await question({
    title: `Drain ${worker.id}`,
    text: ["It takes no more jobs, finishes what ends in time, gives back the rest, and leaves. The supervisor starts a new worker in its place.",
      worker.running === 0 ? "It runs nothing now." : `It runs ${plural(worker.running, "job")} now.`],
    confirm: "Drain the worker",
    isDangerous: true,
  });
  if (sure === null) return;
  await carryOut(`/workers/${encodeURIComponent(worker.instance)}/drain`, undefined, { done: `${worker.id} drains.`, place, signal: page.signal });
  done();
}

function jobLine(job) {
  return h("li", h("div", { class: "side" },
    h("span", h("a", { href: jobAddress(job.id) }, shortId(job.id)), " ", h("a", { href: kindAddress(job.kind) }, job.kind), job.attempt > 1 && h("span", { class: "faint" }, `, attempt ${job.attempt}`)),
    h("span", "started ", time(job.started_at))));
}

class WorkerCard {
  #state = h("div");
  #bar = h("div", { class: "busy" });
  #slots = h("p");
  #jobs = h("ul", { class: "lines" });
  #rest = h("span", { class: "faint" });
  #all = h("a", "List them");
  #finished = h("dd");
  #seen = h("dd");

  constructor(worker, page, done) {
    const trouble = h("div");
    const button = page.may(permissions.operate) && page.isOfDefaultTenant
      ? actButton("Drain", () => drain(page, this.worker, trouble, done), { class: "quiet small", "aria-label": `Drain ${worker.id}` }) : null;
    this.button = button;
    this.#all.href = address("/jobs", { worker: worker.id });
    this.#all.setAttribute("aria-label", `List the jobs that ${worker.id} runs`);
    const kinds = worker.kinds.slice(0, MOST_KINDS).map((kind, n) => [n > 0 && ", ", h("a", { href: kindAddress(kind) }, kind)]);
    this.element = h("section", { class: "card", "data-row": "", "aria-label": `Worker ${worker.id}` },
      h("div", { class: "head" }, h("h2", worker.id), h("div", { class: "row center" }, this.#state, button)), trouble,
      this.#slots, h("div", { class: "track", "aria-hidden": "true" }, this.#bar),
      h("h3", "Running longest"), this.#jobs, h("p", { class: "small side" }, this.#rest, this.#all),
      h("dl", { class: "pairs" }, h("dt", "Kinds"), h("dd", kinds, worker.kinds.length > MOST_KINDS && ` and ${worker.kinds.length - MOST_KINDS} more`),
        h("dt", "Attempts done"), this.#finished, h("dt", "Running since"), h("dd", time(worker.since)), h("dt", "Last seen"), this.#seen,
        h("dt", "Version"), h("dd", worker.version), h("dt", "Instance"), h("dd", h("code", worker.instance))));
  }

  show(worker) {
    this.worker = worker;
    const state = worker.draining ? "draining" : "takes jobs";
    if (this.#state.textContent !== state) fill(this.#state, worker.draining ? mark("later", "hourglass", state) : mark("good", "check", state));
    if (this.button !== null) this.button.disabled = worker.draining;
    say(this.#slots, `${count(worker.running)} of ${count(worker.slots)} slots busy, ${count(Math.max(worker.slots - worker.running, 0))} free`);
    this.#bar.style.width = `${Math.min((100 * worker.running) / Math.max(worker.slots, 1), 100)}%`;
    const jobs = worker.running_jobs.slice(0, JOBS_SHOWN);
    keyed(this.#jobs, jobs, ({ id, attempt }) => `${id} ${attempt}`, jobLine);
    const isPartial = worker.running_jobs.length < Math.min(worker.running, JOBS_TOLD);
    const rest = worker.running - jobs.length;
    say(this.#rest, worker.running === 0 ? "Nothing runs." : rest > 0 ? `and ${count(rest)} more${isPartial ? ", some of other tenants" : ""}` : "");
    this.#all.hidden = worker.running === 0;
    say(this.#finished, count(worker.finished));
    fill(this.#seen, time(worker.seen_at));
  }
}

export function show(page) {
  page.setTitle("Workers");
  if (!page.isOfDefaultTenant) {
    fill(page.main, emptyPlace("Workers serve all tenants.", "Only clients of the tenant default see them."));
    return;
  }
  const grid = h("div", { class: "grid" });
  const note = h("div");
  fill(page.main, note, grid);
  const refresh = new Refresh(page, {
    everyMs: EVERY_MS,
    load: (signal) => ask("/workers", { signal }),
    show: ({ workers }) => {
      if (workers.length === 0) fill(note, emptyPlace("No worker runs.", "Requests are accepted and wait. Start one:"), command("./just scale worker=1"));
      else fill(note, h("p", { class: "faint" }, `${plural(workers.length, "worker")}${workers.length > MOST_SHOWN ? `, the first ${MOST_SHOWN} are shown` : ""}`));
      keyedParts(grid, workers.slice(0, MOST_SHOWN), ({ instance }) => instance, (worker) => new WorkerCard(worker, page, () => refresh.now()));
    },
  });
}

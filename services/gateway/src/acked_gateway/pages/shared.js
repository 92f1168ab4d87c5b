// What the pages share: asking the gateway, showing what it refused, waiting.
import { attendLinks, attendTokenForm, showTokenForm, shownToken } from "./token.js";

const UNAUTHORIZED = 401;
const FORBIDDEN = 403;

export const byId = (id) => document.getElementById(id);

// Resolves after so many milliseconds; rejects when `signal` aborts.
export const pause = (duration, signal) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const stop = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal.removeEventListener("abort", stop); resolve(); }, duration);
  signal.addEventListener("abort", stop, { once: true });
});

export class Problem extends Error {
  constructor(title, detail, document = {}) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.document = document;
  }
}

// The parsed JSON of a 2xx answer; a Problem for any other, and where no answer came.
export async function ask(url, options = {}) {
  let response;
  let text;
  try {
    const headers = { ...options.headers, Accept: "application/json" };
    if (shownToken() !== "") headers.Authorization = `Bearer ${shownToken()}`;
    response = await fetch(url, { cache: "no-store", ...options, headers });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The gateway does not answer", "Check that it runs (./just up), then try again.");
  }
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = null;
  }
  if (response.ok && parsed !== null) return parsed;
  const document = parsed !== null && typeof parsed === "object" ? parsed : {};
  const title = document.title || `The gateway answered ${response.status}`;
  throw new Problem(title, document.detail || text.slice(0, 500), document);
}

export function showProblem(problem) {
  byId("problem").hidden = problem === null;
  if (problem === null) return;
  byId("problem-title").textContent = problem.title ?? "The page failed";
  byId("problem-detail").textContent = problem.detail ?? String(problem);
  if ([UNAUTHORIZED, FORBIDDEN].includes(problem.document?.status)) showTokenForm(byId("access"));
}

// `begin` is called when a token was given; without it the page begins anew.
export function attendAccess(begin) {
  attendTokenForm(byId("access"), begin);
  attendLinks();
}

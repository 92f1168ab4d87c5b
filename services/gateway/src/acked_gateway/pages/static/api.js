// Requests to the gateway: JSON in, JSON out, problems as errors.
import { shownToken } from "./token.js";

export const UNAUTHORIZED = 401;
export const FORBIDDEN = 403;
export const NOT_FOUND = 404;
const REQUEST_WITHIN_MS = 20_000;
const RESPONDS_WITHIN_MS = 3_000;

// Resolves after so many milliseconds; rejects when `signal` aborts.
export const pause = (duration, signal) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const stop = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal.removeEventListener("abort", stop); resolve(); }, duration);
  signal.addEventListener("abort", stop, { once: true });
});

// What a person is told when a request did not succeed. `document` is the problem of the gateway, empty where none came.
export class Problem extends Error {
  constructor(title, detail, document = {}) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.document = document;
  }

  // Whether the same request may succeed later: no connection, or a fault of the server.
  get isPassing() {
    const { status } = this.document;
    return status === undefined || status >= 500 || status === 429;
  }
}

// Returns the parsed JSON of a 2xx response. Throws a Problem for any other, and where none came. `options` are those of
// `fetch`, `lasts` for a request without a bound in time, and `parse` in the place of JSON.parse.
export async function ask(url, options = {}) {
  let response;
  let text;
  try {
    const headers = { ...options.headers, Accept: "application/json" };
    if (shownToken() !== "") headers.Authorization = `Bearer ${shownToken()}`;
    const signals = [options.signal, options.lasts ? null : AbortSignal.timeout(REQUEST_WITHIN_MS)].filter(Boolean);
    const signal = signals.length === 0 ? undefined : AbortSignal.any(signals);
    response = await fetch(url, { cache: "no-store", ...options, headers, signal });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The gateway does not respond", "Check that it runs (./just up). The page retries by itself.");
  }
  let parsed;
  try {
    parsed = (options.parse ?? JSON.parse)(text);
  } catch {
    parsed = null;
  }
  if (response.ok && parsed !== null) return parsed;
  const document = parsed !== null && typeof parsed === "object" ? parsed : { status: response.status };
  const title = document.title || `The gateway responded with ${response.status}`;
  throw new Problem(title, document.detail || text.slice(0, 500), document);
}

// The response of `work`, or `{problem}` if the gateway refuses the request: the page shows either. It throws a problem that
// may pass, and one that requires another token.
export async function orRefusal(work) {
  try {
    return await work;
  } catch (problem) {
    if (problem.isPassing !== false || problem.document.status === UNAUTHORIZED) throw problem;
    return { problem };
  }
}

// Sends a command. `body` is left out where the command takes none; a text is JSON already, since JavaScript would round
// its large numbers.
export function send(url, body, options = {}) {
  const json = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return ask(url, { method: "POST", ...options, ...json, headers: { ...json.headers, ...options.headers } });
}

// Whether the gateway responds to plain HTTP, whoever asks.
export async function gatewayResponds() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(RESPONDS_WITHIN_MS) })).ok;
  } catch {
    return false;
  }
}

// The key of one request: what is sent again under it is the same request.
export const freshKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

// An address with the parameters that have a value.
export function address(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}

export const jobAddress = (id) => `/jobs/${encodeURIComponent(id)}`;
export const batchAddress = (batch) => `/batches/${encodeURIComponent(batch)}`;
export const kindAddress = (kind) => `/kinds/${encodeURIComponent(kind)}`;
export const scheduleAddress = (name) => `/schedules/${encodeURIComponent(name)}`;
export const bulkAddress = (id) => `/bulk-actions/${encodeURIComponent(id)}`;

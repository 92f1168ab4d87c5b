// Numbers, durations and instants as people read them.
import { h } from "./dom.js";

const ZONE = "acked.zone";
// The event of the window after the person has switched between UTC and local time.
export const ZONE_SWITCHED = "acked-zone";
const whole = new Intl.NumberFormat("en");
const SECOND = 1;
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

export const count = (value) => whole.format(value);

// "100,000+" where the count stopped at its bound.
export const counted = (value, isExact) => (isExact ? count(value) : `${count(value)}+`);

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

// A duration in seconds: "850 ms", "1.2 s", "3 min 20 s", "2 h 5 min", "8 d 3 h".
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < SECOND) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < MINUTE) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [large, small, words] = seconds < HOUR ? [MINUTE, SECOND, ["min", "s"]]
    : seconds < DAY ? [HOUR, MINUTE, ["h", "min"]] : [DAY, HOUR, ["d", "h"]];
  const first = Math.floor(seconds / large);
  const rest = Math.floor((seconds % large) / small);
  return rest === 0 ? `${first} ${words[0]}` : `${first} ${words[0]} ${rest} ${words[1]}`;
}

export const milliseconds = (value) => (value === null || value === undefined ? "–"
  : `${value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 })} ms`);

// A rate per second with two significant places at most.
export const rate = (value) => (value === 0 ? "0" : value < 10 ? value.toFixed(value < 1 ? 2 : 1) : count(Math.round(value)));

// "just now", "12 s ago", "in 5 min".
export function relative(at, now = Date.now()) {
  const seconds = (now - Date.parse(at)) / 1000;
  const size = Math.abs(seconds);
  if (size < 2) return "just now";
  const unit = [DAY, HOUR, MINUTE, SECOND].find((one) => size >= one) ?? SECOND;
  const words = `${Math.floor(size / unit)} ${{ [DAY]: "d", [HOUR]: "h", [MINUTE]: "min", [SECOND]: "s" }[unit]}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

export const isUtc = () => localStorage.getItem(ZONE) !== "local";

export function absolute(at) {
  const date = new Date(at);
  if (isUtc()) return `${date.toISOString().replace("T", " ").slice(0, 19)} UTC`;
  const pad = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} `
    + `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())} local`;
}

export function switchZone() {
  localStorage.setItem(ZONE, isUtc() ? "local" : "utc");
  for (const element of document.querySelectorAll("time[datetime]")) element.title = absolute(element.dateTime);
  dispatchEvent(new Event(ZONE_SWITCHED));
}

// A relative time that goes on by itself; the absolute one is its title.
export function time(at) {
  if (!at) return "–";
  return h("time", { datetime: at, title: absolute(at), "data-relative": "" }, relative(at));
}

// A relative time with the absolute one beside it.
export const instant = (at) => [time(at), h("span", { class: "faint" }, ` ${absolute(at)}`)];

// Makes a time of `time` show another instant, in its place.
export function updateTime(element, at) {
  if (element.dateTime === at) return;
  element.dateTime = at;
  element.title = absolute(at);
  element.textContent = relative(at);
}

// Goes on with all relative times, once a second.
export function startClock() {
  setInterval(() => {
    const now = Date.now();
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const text = relative(element.dateTime, now);
      if (element.textContent !== text) element.textContent = text;
    }
  }, 1000);
}

export const shortId = (id) => `…${id.slice(-8)}`;

// A limit as words, such as "20 running, 5 of each tenant".
export const limitWords = ({ running, per_tenant: perTenant }) =>
  [running == null ? null : `${count(running)} running`, perTenant == null ? null : `${count(perTenant)} of each tenant`].filter((part) => part !== null).join(", ");

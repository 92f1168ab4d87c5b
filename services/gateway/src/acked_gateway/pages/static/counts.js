// Figures out of the counts of GET /timeseries, without a plot.
const MINUTE_S = 60;

export const acceptedIn = (point) => point.accepted;
export const endedIn = (point) => point.succeeded + point.failed + point.cancelled;
export const failedIn = (point) => point.failed;

export const seconds = (at) => Date.parse(at) / 1000;

const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);

// How many slots workers have, and how many of them are busy.
export const slotsOf = (workers) => ({ busy: sum(workers, (one) => one.running), slots: sum(workers, (one) => one.slots) });

// Per second over the last minute, from points of a minute each: the newest one has only begun.
export function rateNow(points, of, now = Date.now()) {
  if (points.length < 2) return 0;
  const [before, last] = points.slice(-2);
  const passed = Math.min(Math.max(now / 1000 - seconds(last.at), 0), MINUTE_S);
  return (of(last) + of(before) * (1 - passed / MINUTE_S)) / MINUTE_S;
}

// Share of the ended runs that failed, as text; "–" where none has ended.
export function failureShare(counts) {
  const ended = counts === undefined ? 0 : endedIn(counts);
  if (ended === 0) return "–";
  const share = (100 * counts.failed) / ended;
  return `${share > 0 && share < 1 ? "< 1" : Math.round(share)} %`;
}

// The line to the live feed: one subscription over as many connections as it takes.
import { Problem, pause } from "./api.js";
import { shownToken } from "./token.js";

export const Line = Object.freeze({ CONNECTING: "connecting", LIVE: "live", LOST: "lost", BLOCKED: "blocked" });

const PATH = "/ws/feed";
const SUB = 1;
// The gateway says something each 15 s.
const QUIET_AT_MOST_MS = 35_000;
const OPENS_WITHIN_MS = 10_000;
const AGAIN_FIRST_MS = 100;
const AGAIN_AT_MOST_MS = 5_000;
const AT_ONCE_MS = 200;
const REFUSED_OFTEN = 3;
const LEFT = 1000;
const NO_CODE = 1006;
const RESTARTS = new Set([1001, 1012]);
const SENT_AWAY = new Set([1003, 1008, 1009]);

function address() {
  const url = new URL(PATH, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

const backOff = (failures) => Math.min(AGAIN_FIRST_MS * 2 ** failures, AGAIN_AT_MOST_MS) * (0.5 + Math.random() / 2);

// One connection, from its start to its end; resolves with the code of its end, rejects with the feed's own refusal.
function connection(scope, take, quietAtMostMs, signal) {
  return new Promise((resolve, reject) => {
    let socket;
    try {
      socket = new WebSocket(address());
    } catch {
      resolve(NO_CODE);
      return;
    }
    let heardAt = null;
    const startedAt = Date.now();
    const end = (settle, value) => {
      clearInterval(watch);
      signal.removeEventListener("abort", leave);
      socket.onopen = socket.onmessage = socket.onclose = null;
      // A dead peer answers no close: nothing waits for it.
      socket.close();
      settle(value);
    };
    const leave = () => end(resolve, LEFT);
    const watch = setInterval(() => {
      const quiet = heardAt === null ? Date.now() - startedAt > OPENS_WITHIN_MS : Date.now() - heardAt > quietAtMostMs;
      if (quiet) end(resolve, NO_CODE);
    }, Math.min(quietAtMostMs, OPENS_WITHIN_MS) / 10);
    signal.addEventListener("abort", leave);
    socket.onopen = () => {
      if (shownToken() !== "") socket.send(JSON.stringify({ type: "authenticate", token: shownToken() }));
      socket.send(JSON.stringify({ type: "subscribe", sub: SUB, scope }));
    };
    socket.onclose = ({ code }) => end(resolve, code);
    socket.onmessage = ({ data }) => {
      heardAt = Date.now();
      const frame = JSON.parse(data);
      if (frame.type !== "error") take(frame);
      else end(reject, new Problem(frame.problem.title, frame.problem.detail, frame.problem));
    };
  });
}

// Hands each frame to `take` and how the line is to `tell` until `signal` aborts; rejects then, or when the feed refuses
// the scope. `answers()` resolves to whether the gateway answers plain HTTP: where it does and WebSockets fail again
// and again, the line is told to be blocked, and still tried.
export async function followScope(scope, { take, tell, answers, signal, quietAtMostMs = QUIET_AT_MOST_MS }) {
  let failures = 0;
  let refused = 0;
  let line = Line.CONNECTING;
  const turn = (to) => { line = to; tell(to); };
  turn(line);
  for (;;) {
    signal.throwIfAborted();
    let isHeard = false;
    let isLive = false;
    const code = await connection(scope, (frame) => {
      isHeard = true;
      refused = 0;
      if (frame.type === "snapshot" && !isLive) {
        isLive = true;
        failures = 0;
        turn(Line.LIVE);
      }
      take(frame);
    }, quietAtMostMs, signal);
    signal.throwIfAborted();
    if (isLive) turn(Line.LOST);
    if (!isHeard && await answers()) refused += 1;
    signal.throwIfAborted();
    if (refused >= REFUSED_OFTEN && line !== Line.BLOCKED) turn(Line.BLOCKED);
    if (isLive && RESTARTS.has(code)) await pause(Math.random() * AT_ONCE_MS, signal);
    else if (SENT_AWAY.has(code)) await pause(AGAIN_AT_MOST_MS, signal);
    else await pause(backOff(failures++), signal);
  }
}

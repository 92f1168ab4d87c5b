// JSON as text for people: numbers stay as they were sent, and a fault has its line and column. Pure.

const LONG_CHARS = 64 * 1024;
const MOST_LEVELS = 64;
const BLANK = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

export const isLong = (text) => text.length > LONG_CHARS;
export const beginning = (text) => text.slice(0, LONG_CHARS);

// As JSON.parse, but a number that JavaScript would round, or write otherwise, keeps its own notation.
export function parseExactly(text) {
  if (typeof JSON.rawJSON !== "function") return JSON.parse(text);
  return JSON.parse(text, (_, value, context) => (
    typeof value === "number" && context?.source !== undefined && context.source !== String(value) ? JSON.rawJSON(context.source) : value));
}

// The JSON of `body` with `payload` as its last member, which is JSON already: JavaScript would round its large numbers.
export const withPayload = (body, payload) => JSON.stringify({ ...body, payload: null }).replace(/null\}$/, () => `${payload}}`);

export const written = (value) => JSON.stringify(value, null, 2);

// Where a text ends to be JSON: an offset, or null where all of it is. Browsers describe it in words of their own, if at all.
function faultAt(text) {
  let at = 0;
  const skip = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at += found[0].length;
    return found !== null && found[0] !== "";
  };
  const blank = () => { skip(BLANK); return text[at]; };
  // Each open array or object, by the character that closes it.
  const open = [];
  const key = () => blank() === "\"" && skip(STRING) && blank() === ":" && ++at > 0;
  const value = () => {
    for (;;) {
      const first = blank();
      if (first === "[" || first === "{") {
        at += 1;
        open.push(first === "[" ? "]" : "}");
        if (open.length > MOST_LEVELS) return false;
        if (blank() === open.at(-1)) { at += 1; open.pop(); return true; }
        if (first === "{" && !key()) return false;
      } else return skip(first === "\"" ? STRING : SCALAR);
    }
  };
  for (;;) {
    if (!value()) return at;
    while (open.length > 0 && blank() === open.at(-1)) { at += 1; open.pop(); }
    if (open.length === 0) return blank() === undefined ? null : at;
    if (blank() !== ",") return at;
    at += 1;
    if (open.at(-1) === "}" && !key()) return at;
  }
}

// Returns the text if it is JSON. Throws an Error that names the line and the column of the fault.
export function checkedJson(text) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    const lines = text.slice(0, faultAt(text) ?? text.length).split("\n");
    throw new Error(`This is not JSON: line ${lines.length}, column ${lines.at(-1).length + 1}.`);
  }
}

// Builds elements. Texts become text nodes and values become attributes, so no payload, error or name is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const ATTRIBUTE = /^(?:aria-[a-z]+|data-[a-z-]+|[a-z]+(?:-[a-z]+)*|viewBox|preserveAspectRatio)$/;
const REFUSED = /^(?:on|style$|srcdoc$|formaction$|action$)/;

export const byId = (id) => document.getElementById(id);

// An address of this gateway, of a fragment, or of the web; throws for any other, such as `javascript:`.
function checkedAddress(value) {
  const url = new URL(value, location.href);
  if (!["http:", "https:", "blob:"].includes(url.protocol)) throw new TypeError(`not an address of a page: ${url.protocol}`);
  return value;
}

function apply(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else if (name === "value" && "value" in element && element.localName !== "button" && element.localName !== "option") {
      element.value = value;
    } else if (!ATTRIBUTE.test(name) || REFUSED.test(name)) {
      throw new TypeError(`not an attribute that pages set: ${name}`);
    } else {
      element.setAttribute(name, value === true ? "" : name === "href" ? checkedAddress(value) : value);
    }
  }
}

// An element with attributes and children: elements, texts, numbers, arrays of them; null, undefined and false are left out.
// `on` holds listeners by event. A child or attribute list may come first: `h("p", "text")`.
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  return filled(element, attributes, children);
}

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  const isAttributes = attributes !== null && typeof attributes === "object" && !(attributes instanceof Node) && !Array.isArray(attributes);
  element.append(...nodes(isAttributes ? children : [attributes, ...children]));
  if (isAttributes) apply(element, attributes);
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

// Replaces the children of an element.
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

// Sets a text where it differs, so that a selection or a screen reader is not disturbed by each refresh.
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

const shown = new WeakMap();

// Fills a place only where what it shows has changed, so that the focus and the selection in it stay. `seen` is what the
// children are made of, as JSON; `make` returns them.
export function renew(place, seen, make) {
  const key = JSON.stringify(seen);
  if (shown.get(place) === key) return;
  shown.set(place, key);
  fill(place, make());
}

// Makes the children of `parent` those of `items`, in order. Elements with a known key stay, with their focus: `update`
// gets (element, item); `make` gets an item whose key is new.
export function keyed(parent, items, keyOf, make, update = () => {}) {
  // What leaves goes first: else the elements behind it would move, and one that moves loses the focus.
  const wanted = new Set(items.map((item) => String(keyOf(item))));
  for (const element of [...parent.children]) if (!wanted.has(element.dataset.key)) element.remove();
  const known = new Map([...parent.children].map((element) => [element.dataset.key, element]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let element = known.get(key);
    if (element === undefined) {
      element = make(item);
      element.dataset.key = key;
    }
    known.delete(key);
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
}

const parts = new WeakMap();

// As `keyed`, of objects with an `element` and `show(item)`; they live as long as their elements.
export function keyedParts(parent, items, keyOf, make) {
  keyed(parent, items, keyOf, (item) => {
    const part = make(item);
    parts.set(part.element, part);
    return part.element;
  }, (element, item) => parts.get(element).show(item));
}

// The rail of places: the current one is marked; a phone shows the first ones, and the others behind "More".
import { byId } from "./dom.js";

function markPlace() {
  const first = `/${location.pathname.split("/")[1]}`;
  const current = [...document.querySelectorAll("nav li a")].find((link) => new URL(link.href).pathname === first);
  current?.setAttribute("aria-current", "page");
  // On a phone the current place may stand behind the button.
  byId("more").classList.toggle("current", byId("more-places").contains(current ?? null));
}

export function attendPlaces() {
  markPlace();
  const more = byId("more");
  const isOpen = () => more.getAttribute("aria-expanded") === "true";
  const open = (to) => more.setAttribute("aria-expanded", String(to));
  more.addEventListener("click", () => open(!isOpen()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isOpen()) return;
    open(false);
    more.focus();
  });
  // A press beside the list, or the focus that goes on from it, closes it.
  for (const type of ["pointerdown", "focusin"]) {
    document.addEventListener(type, ({ target }) => {
      if (isOpen() && target !== more && !byId("more-places").contains(target)) open(false);
    });
  }
}

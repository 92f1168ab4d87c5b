// The token of this tab: kept in its session storage alone, shown in a header or in the first message of a WebSocket, never
// in a URL.
const KEY = "acked.token";

export const shownToken = () => sessionStorage.getItem(KEY) ?? "";

export function showTokenForm(form) {
  form.hidden = false;
  form.elements.token.focus();
}

// Where a token is asked for, the page's form takes one; the page then goes on, or begins anew with it.
export function attendTokenForm(form, begin = () => location.reload()) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, form.elements.token.value.trim());
    form.elements.token.value = "";
    form.elements.forget.hidden = false;
    begin();
  });
  const forget = form.elements.forget;
  forget.hidden = shownToken() === "";
  form.hidden = forget.hidden;
  forget.addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    location.reload();
  });
}

// What a token has to be shown for can't be opened by a plain link: the answer is fetched, then opened.
export function attendLinks() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest?.("a[data-json]");
    if (!link || shownToken() === "") return;
    event.preventDefault();
    const headers = { Accept: "application/json", Authorization: `Bearer ${shownToken()}` };
    const response = await fetch(link.href, { cache: "no-store", headers });
    const type = (response.headers.get("Content-Type") ?? "text/plain").includes("json") ? "application/json" : "text/plain";
    location.href = URL.createObjectURL(new Blob([await response.text()], { type }));
  });
}

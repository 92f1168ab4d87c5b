// The token of this tab: in its session storage alone, sent in a header or in the first message of a WebSocket, never in a
// URL.
const KEY = "acked.token";

export const shownToken = () => sessionStorage.getItem(KEY) ?? "";

export const useToken = (token) => sessionStorage.setItem(KEY, token.trim());

export const forgetToken = () => sessionStorage.removeItem(KEY);

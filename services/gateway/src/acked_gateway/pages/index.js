import { ask, attendAccess, byId, showProblem } from "./shared.js";

attendAccess();

byId("lookup").addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = new FormData(event.target).get("id").trim();
  const answer = byId("answer");
  answer.hidden = true;
  showProblem(null);
  try {
    answer.textContent = JSON.stringify(await ask(`/status/${encodeURIComponent(id)}`), null, 2);
    answer.hidden = false;
  } catch (problem) {
    showProblem(problem);
  }
});

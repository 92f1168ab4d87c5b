// What an operator does for a group: retry, resolve, snooze, comment, take.
import { carryOut, actButton, question } from "./act.js";
import { bulkDialog } from "./bulk.js";
import { jobsCounted } from "./bulk_words.js";
import { say, h } from "./dom.js";
import { counted } from "./format.js";

const MOST_CHARS = 1000;
const HOUR_S = 3600;
const CUSTOM = "custom";
const SNOOZES = [["1", "1 hour"], ["8", "8 hours"], ["24", "1 day"], [CUSTOM, "Another time"]];
const MOST_HOURS = 9600;

const isSnoozed = ({ snoozed_until: until }) => until !== null && Date.parse(until) > Date.now();

export class Acts {
  #page;
  #card;
  #retry = this.#bulk("retry");
  #resolve = this.#bulk("resolve");
  #snooze = actButton("Snooze", () => this.#askSnooze(), { class: "quiet small" });
  #comment = actButton("Comment", () => this.#askComment(), { class: "quiet small" });
  #take = actButton("Take", () => this.#turnTaken(), { class: "quiet small" });

  // `card`: `current()` is its group, `follow(progress)` shows a bulk action, `changed()` asks anew.
  constructor(page, card) {
    this.#page = page;
    this.#card = card;
  }

  get buttons() {
    return [this.#retry, this.#resolve, this.#snooze, this.#comment, this.#take];
  }

  show(group) {
    const number = counted(group.count, group.count_is_exact);
    say(this.#retry, `Retry ${number}`);
    say(this.#resolve, `Resolve ${number}`);
    say(this.#snooze, isSnoozed(group) ? "Unsnooze" : "Snooze");
    say(this.#take, group.taken_by === null ? "Take" : group.taken_by === this.#page.own.client ? "Release" : "Take over");
  }

  #bulk(action) {
    return actButton(action, async () => {
      const { group, kind, type, message, count, count_is_exact: isExact } = this.#card.current();
      const name = { retry: "Retry", resolve: "Resolve" }[action];
      const progress = await bulkDialog(this.#page, {
        action, filter: { "error.group": group }, place: this.#card.place,
        title: `${name} ${jobsCounted(count, isExact)} of one group`,
        about: h("p", { class: "about" }, h("strong", `${type}: ${message}`), h("span", { class: "faint" }, ` kind ${kind}`)),
      });
      if (progress === null) return;
      this.#card.follow(progress);
      progress.ended.then(() => this.#card.changed());
    }, { class: action === "retry" ? "small" : "quiet small" });
  }

  async #note(body, done) {
    const { group } = this.#card.current();
    const noted = await carryOut(`/attention/${encodeURIComponent(group)}`, body, { done, place: this.#card.trouble, signal: this.#page.signal });
    if (noted !== null) this.#card.changed();
  }

  async #askSnooze() {
    if (isSnoozed(this.#card.current())) {
      await this.#note({ snooze_s: null }, "The group is shown again");
      return;
    }
    const hours = h("input", { name: "hours", type: "number", min: "0.1", max: String(MOST_HOURS), step: "any", inputmode: "decimal", disabled: true });
    const custom = h("label", { hidden: true }, "Hours", hours);
    const choice = h("select", { name: "choice" }, SNOOZES.map(([value, label]) => h("option", { value }, label)));
    choice.addEventListener("change", () => { hours.disabled = custom.hidden = choice.value !== CUSTOM; hours.required = !hours.disabled; });
    const values = await question({
      title: "Snooze the group", text: "It is hidden for all users until then.",
      fields: [h("label", "For", choice), custom], confirm: "Snooze",
    });
    if (values === null) return;
    const seconds = Number(values.choice === CUSTOM ? values.hours : values.choice) * HOUR_S;
    await this.#note({ snooze_s: seconds }, "Snoozed. The group is listed under Snoozed until then.");
  }

  async #askComment() {
    const values = await question({
      title: "Comment", text: "Shown with the group, and recorded in the audit.",
      fields: [h("label", "Comment, empty for none", h("textarea", { name: "comment", maxlength: MOST_CHARS, class: "low", value: this.#card.current().comment ?? "" }))],
      confirm: "Save",
    });
    if (values === null) return;
    const comment = values.comment.trim();
    await this.#note({ comment: comment === "" ? null : comment }, comment === "" ? "The comment is removed" : "The comment is saved");
  }

  async #turnTaken() {
    const taken = this.#card.current().taken_by !== this.#page.own.client;
    await this.#note({ taken }, taken ? "Assigned to you" : "No longer assigned to you");
  }
}

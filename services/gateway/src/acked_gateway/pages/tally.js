// How many jobs of a scope are in each state, as the frames of one subscription tell it. Pure: no socket, no clock.

export class Tally {
  #jobs = new Map();
  #states = {};
  #hasCounts = false;

  // What a frame says; true where it was news. Frames of unknown types are none.
  take(frame) {
    if (frame.type === "snapshot") {
      this.#begin(frame);
      return true;
    }
    if (frame.type !== "events" || this.#hasCounts) return false;
    return frame.events.reduce((isNews, event) => this.#move(event) || isNews, false);
  }

  // `{total, states}`, as in the answer of `/batches/{batch}`.
  get answer() {
    const states = Object.fromEntries(Object.entries(this.#states).filter(([, jobs]) => jobs > 0));
    return { total: Object.values(states).reduce((sum, jobs) => sum + jobs, 0), states };
  }

  #begin({ jobs, counts }) {
    this.#jobs.clear();
    this.#hasCounts = jobs === undefined;
    this.#states = this.#hasCounts ? { ...counts } : {};
    for (const job of jobs ?? []) this.#move(job);
  }

  #move({ id, rev, state }) {
    const known = this.#jobs.get(id);
    if (known !== undefined && rev <= known.rev) return false;
    if (known !== undefined) this.#states[known.state] -= 1;
    this.#states[state] = (this.#states[state] ?? 0) + 1;
    this.#jobs.set(id, { rev, state });
    return true;
  }
}

// How many jobs of a scope are in each state, by the frames of one subscription. Pure: no socket, no clock.

export class Tally {
  #jobs = new Map();
  #states = {};
  #hasCounts = false;

  // Takes a frame; returns whether it changed a count. Frames of unknown types change none.
  take(frame) {
    if (frame.type === "snapshot") {
      this.#begin(frame);
      return true;
    }
    if (frame.type !== "events" || this.#hasCounts) return false;
    return frame.events.reduce((isChanged, event) => this.#move(event) || isChanged, false);
  }

  // `{total, states}`, as in the response of `/batches/{batch}`.
  get counts() {
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

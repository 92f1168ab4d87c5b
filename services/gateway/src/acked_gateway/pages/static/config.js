// What the server put into the shell: states with their look, where commands are allowed, where intake is.
const config = JSON.parse(document.body.dataset.config);

export const intakeUrl = config.intake_url;
export const failedState = config.failure;
export const queuedState = config.wait;
export const runningState = config.run;
export const permissions = config.permissions;
export const states = config.states;

const known = new Map(config.states.map((state) => [state.name, state]));
const unknown = { tone: "off", shape: "bar", is_terminal: false };

export const lookOf = (state) => known.get(state) ?? unknown;
export const isTerminal = (state) => lookOf(state).is_terminal;
export const terminalStates = config.states.filter((state) => state.is_terminal).map((state) => state.name);
export const liveStates = config.states.filter((state) => !state.is_terminal).map((state) => state.name);
// Whether a job in this state may be moved by a command: cancel, retry, run_now, resolve, edit, erase.
export const isAllowed = (command, state) => config.allowed[command].includes(state);
// The durable calls that a person may end early.
export const endableCalls = config.endable;
// The states of jobs that wait for an instant or a signal, without a worker.
export const parkedStates = config.allowed.end_wait;
// The ends that a resolve can give a job, the usual one first.
export const resolvedAs = config.resolved_as;

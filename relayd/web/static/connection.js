/**
 * One WebSocket to the event hub, kept for as long as the page lives.
 *
 * It never gives up silently: while it is not live it says why and when it tries again; where
 * trying again cannot help, it says that it has stopped. What was missed meanwhile is asked for
 * by the position of the last event that came, and where the server no longer has it, the page
 * is told to load its state anew.
 *
 * Nothing here knows the page: time, chance and the socket are given.
 */

/** How often a live connection is asked for a sign of life, and how long that may take. */
export const HEARTBEAT_MS = 30_000;
export const PONG_MS = 10_000;

/** From the first byte to the server's welcome. */
export const OPEN_MS = 15_000;

/** The first wait, the longest wait; each attempt doubles it, and chance takes up to half off. */
export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 30_000;

/** A connection that lasted so long was a good one: the next loss starts from the first wait. */
export const STABLE_MS = 5_000;

/** Close codes after which another attempt would meet the same answer. */
export const TERMINAL = new Map([
  [4500, "The key or token is not valid here."],
  [4501, "The server did not understand this page. Load it anew."],
  [4503, "The server ended this connection: its key was removed, or an operator closed it."],
  [4504, "This key has too many connections open."],
  [4505, "This page asked for too many topics."],
]);

const CODES = new Map([
  [1001, "The server is going away."],
  [1006, "The connection was lost."],
  [1009, "The server took a message of this page for too large."],
  [1011, "The server had an internal error."],
  [1012, "The server is restarting."],
  [1013, "The server is overloaded."],
  [4001, "The server is restarting."],
  [4005, "The token has expired."],
  [4008, "This page was too slow; it catches up."],
  [4009, "This page did not answer in time."],
  [4010, "The server lost this page's position; it loads its state anew."],
]);

const NOT_OPENED = "The server answers, but did not open the connection for events.";

/**
 * @typedef {"idle" | "connecting" | "live" | "waiting" | "stopped"} Phase
 *
 * @typedef {object} State
 * @property {Phase} phase
 * @property {number} attempt How many attempts have failed since the connection was last good.
 * @property {number | null} retryAt When the next attempt begins, in ms of the clock.
 * @property {number | null} liveSince
 * @property {{message: string, code: number | null, at: number} | null} lastError Kept while live.
 *
 * @typedef {object} Diagnosis What the server says over HTTP when the WebSocket says nothing.
 * @property {boolean} fatal Whether another attempt would meet the same answer.
 * @property {string} message
 *
 * @typedef {object} Environment
 * @property {new (url: string, protocols: string[]) => WebSocket} WebSocket
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now Milliseconds.
 * @property {() => number} random From 0 up to 1.
 * @property {() => boolean} isOnline
 *
 * @typedef {object} Options
 * @property {(since: string | null) => string} url Asked at each attempt.
 * @property {() => string[]} protocols Likewise; they hold the key.
 * @property {(envelope: object) => void} onEvent
 * @property {() => void} onReset The state is to be loaded anew: at the first welcome, and
 *   whenever something was missed.
 * @property {(state: State) => void} onState
 * @property {() => Promise<Diagnosis | null>} diagnose Asked when a WebSocket never opened.
 * @property {Environment} environment
 */

export class Connection {
  /** @type {Options} */ #options;
  /** @type {WebSocket | null} */ #socket = null;
  /** Counts attempts: what an older one still has to say is not heard. */
  #generation = 0;
  /** @type {State} */ #state;
  /** @type {{epoch: string, seq: number} | null} */ #position = null;
  #lastHeard = 0;
  /** Whether a reset was asked for and nothing has come since: another would load the same. */
  #isFresh = false;
  /** @type {any} */ #timer = null;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#state = { phase: "idle", attempt: 0, retryAt: null, liveSince: null, lastError: null };
  }

  get state() {
    return this.#state;
  }

  /** Where the next connection goes on: `epoch@seq`; null before the first welcome. */
  get cursor() {
    return this.#position && `${this.#position.epoch}@${this.#position.seq}`;
  }

  /** Connect now, unless it is connected or about to be. Also after it has stopped. */
  connect() {
    if (this.#state.phase === "live" || this.#state.phase === "connecting") return;
    this.#attempt();
  }

  /** Begin a new socket that goes on where this one is: what it asks for has changed. */
  renew() {
    if (this.#state.phase === "idle" || this.#state.phase === "stopped") return;
    this.#attempt();
  }

  /** Close for good, and forget the position: somebody has signed out. */
  close() {
    this.#leave(1000);
    this.#position = null;
    this.#become({ phase: "idle", attempt: 0, retryAt: null, liveSince: null, lastError: null });
  }

  /** The page can be seen, or the computer is online: do not sit out a wait. */
  wake() {
    if (this.#state.phase === "waiting") this.#attempt();
    else if (this.#state.phase === "live") this.#beat();
  }

  // -- attempts

  #attempt() {
    this.#leave(1000);
    const generation = ++this.#generation;
    this.#become({ phase: "connecting", retryAt: null, liveSince: null });
    /** @type {WebSocket} */ let socket;
    try {
      socket = new this.#options.environment.WebSocket(
        this.#options.url(this.cursor),
        this.#options.protocols(),
      );
    } catch {
      this.#stop("This key holds characters that a browser cannot send with a WebSocket.", null);
      return;
    }
    this.#socket = socket;
    const current = () => generation === this.#generation;
    socket.onmessage = (message) => current() && this.#hear(message.data);
    socket.onclose = (close) => current() && this.#closed(close.code, close.reason);
    this.#after(OPEN_MS, () => this.#lose("The server did not answer.", null));
  }

  /** Let go of the socket; nothing that it still says is heard. @param {number} code */
  #leave(code) {
    this.#generation++;
    this.#after(null);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const opened = this.#state.phase === "live";
    this.#socket = null;
    const terminal = TERMINAL.get(code);
    if (terminal) return this.#stop(terminal, code);
    this.#lose(CODES.get(code) ?? (reason || `The connection was closed (${code}).`), code);
    if (!opened) this.#diagnose();
  }

  /** A browser hides why an upgrade failed; a request says it. */
  async #diagnose() {
    const generation = this.#generation;
    const diagnosis = await this.#options.diagnose();
    if (generation !== this.#generation) return;
    if (diagnosis?.fatal) this.#stop(diagnosis.message, null);
    else this.#become({ lastError: this.#error(diagnosis?.message ?? NOT_OPENED, null) });
  }

  /** @param {string} message @param {number | null} code */
  #lose(message, code) {
    const { now, random, isOnline } = this.#options.environment;
    const { liveSince } = this.#state;
    this.#leave(1000);
    const stable = liveSince !== null && now() - liveSince >= STABLE_MS;
    const attempt = stable ? 0 : this.#state.attempt;
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
    const wait = ceiling / 2 + random() * (ceiling / 2);
    this.#become({
      phase: "waiting",
      attempt: attempt + 1,
      retryAt: now() + wait,
      liveSince: null,
      lastError: this.#error(isOnline() ? message : "This computer is offline.", code),
    });
    this.#after(wait, () => this.#attempt());
  }

  /** @param {string} message @param {number | null} code */
  #stop(message, code) {
    this.#leave(1000);
    const lastError = this.#error(message, code);
    this.#become({ phase: "stopped", retryAt: null, liveSince: null, lastError });
  }

  // -- what comes in

  /** @param {unknown} text */
  #hear(text) {
    const message = parse(text);
    if (message === null) return this.#lose("The server sent what is no event.", null);
    this.#lastHeard = this.#options.environment.now();
    if (message.type === "welcome") this.#welcome(message);
    else if (message.type === "error") this.#complain(message.error);
    else if (typeof message.event === "string") this.#receive(message);
    // "pong" has said all there is by coming.
  }

  #welcome(message) {
    const missed = message.recovered !== true;
    if (missed) this.#position = { epoch: String(message.epoch), seq: Number(message.seq) };
    this.#become({ phase: "live", retryAt: null, liveSince: this.#lastHeard });
    this.#after(HEARTBEAT_MS, () => this.#beat());
    this.#isFresh = false;
    if (missed) this.#reset();
  }

  #reset() {
    if (this.#isFresh) return;
    this.#isFresh = true;
    this.#options.onReset();
  }

  #receive(envelope) {
    const [epoch] = String(envelope.id ?? "").split(/[:@]/); // a place in a topic, or in all
    if (epoch && Number.isSafeInteger(envelope.seq)) this.#pass(epoch, envelope.seq);
    const fromHub = envelope.topic === null; // what is published has a topic, whatever its name
    if (fromHub && envelope.event === "resync_required") return this.#reset();
    this.#isFresh = false;
    this.#options.onEvent(envelope);
  }

  /** @param {string} epoch @param {number} seq */
  #pass(epoch, seq) {
    if (this.#position?.epoch === epoch && seq <= this.#position.seq) return;
    this.#position = { epoch, seq };
  }

  #complain(error) {
    const message = typeof error?.message === "string" ? error.message : "The server complained.";
    this.#become({ lastError: this.#error(message, null) });
  }

  // -- life

  /** Ask for a sign of life; anything that comes is one. */
  #beat() {
    const asked = this.#options.environment.now();
    this.#socket?.send('{"type":"ping"}');
    this.#after(PONG_MS, () => {
      if (this.#lastHeard < asked) return this.#lose("The server fell silent.", null);
      this.#after(HEARTBEAT_MS - PONG_MS, () => this.#beat());
    });
  }

  /** One timer at a time: each phase waits for one thing. @param {number | null} ms */
  #after(ms, run = () => {}) {
    const { setTimeout, clearTimeout } = this.#options.environment;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = ms === null ? null : setTimeout(run, ms);
  }

  /** @param {string} message @param {number | null} code */
  #error(message, code) {
    return { message, code, at: this.#options.environment.now() };
  }

  /** @param {Partial<State>} change */
  #become(change) {
    this.#state = { ...this.#state, ...change };
    this.#options.onState(this.#state);
  }
}

/** @param {unknown} text @returns {any | null} */
function parse(text) {
  if (typeof text !== "string") return null;
  try {
    const message = JSON.parse(text);
    return message !== null && typeof message === "object" ? message : null;
  } catch {
    return null;
  }
}

/** The browser's own time, chance and socket. @returns {Environment} */
export function browserEnvironment() {
  return {
    WebSocket,
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    now: () => Date.now(),
    random: () => Math.random(),
    isOnline: () => navigator.onLine,
  };
}

/** Wake the connection when the page is shown again or the network is back.
 * @param {Connection} connection */
export function wakeWithThePage(connection) {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.wake();
  });
  window.addEventListener("online", () => connection.wake());
  window.addEventListener("pageshow", () => connection.wake());
}

/** The bar on top: who looks, how the connection is, and what is wrong with it. */

import { byId, setClass, setShown, setText, setTitle } from "./dom.js";
import { clock, count } from "./format.js";

const PHASES = {
  idle: ["off", "not connected"],
  connecting: ["trial pulse", "connecting"],
  live: ["good", "live"],
  waiting: ["warn", "disconnected"],
  stopped: ["bad", "stopped"],
};

export class HeaderView {
  /** @type {import("./store.js").Store} */ #store;
  /** @type {string | null} */ #problem = null;
  /** The version that this page's files came with. @type {string | null} */ #version = null;

  /** @param {import("./store.js").Store} store @param {() => void} onRetry */
  constructor(store, onRetry) {
    this.#store = store;
    this.action = byId("banner-action");
    this.action.addEventListener("click", () => {
      if (this.#outdated) location.reload();
      else onRetry();
    });
    store.watch(["connection", "identity", "overview"], () => this.show());
  }

  /** @param {string | null} problem Of the last question that was asked over HTTP. */
  setProblem(problem) {
    this.#problem = problem;
    this.show();
  }

  get #outdated() {
    const version = this.#store.overview?.version;
    return this.#version !== null && version !== undefined && version !== this.#version;
  }

  show() {
    const { connection, identity, overview } = this.#store;
    this.#version ??= overview?.version ?? null;
    if (!connection || !identity) return;
    const [mark, word] = PHASES[connection.phase];
    const [shape, name, detail] = byId("connection").children;
    setClass(/** @type {HTMLElement} */ (shape), `mark ${mark}`);
    setText(/** @type {HTMLElement} */ (name), word);
    setText(/** @type {HTMLElement} */ (detail), this.#detail(connection));
    setTitle(byId("connection"), lastError(connection));
    byId("connection").dataset.phase = connection.phase;
    setText(byId("scope"), [overview?.version && `v${overview.version}`, scope(identity)]
      .filter(Boolean).join(" · "));
    setShown(byId("draining"), overview?.draining === true);
    this.#showBanner(connection);
    this.#showTitle(connection);
  }

  /** @param {import("./connection.js").State} state */
  #detail(state) {
    if (state.phase === "live") return `since ${clock(state.liveSince ?? 0)}`;
    if (state.phase === "waiting" && state.retryAt) {
      const left = Math.ceil((state.retryAt - Date.now()) / 1000);
      return left > 0 ? `again in ${left} s` : "";
    }
    return "";
  }

  /** @param {import("./connection.js").State} state */
  #showBanner(state) {
    const lost = state.phase !== "live" && state.lastError !== null;
    const stale = lost || this.#problem !== null;
    document.body.classList.toggle("stale", stale && state.phase !== "live");
    setText(byId("as-of"), stale && this.#store.asOf ? `as of ${clock(this.#store.asOf)}` : "");
    const banner = byId("banner");
    setShown(banner, stale || this.#outdated);
    setClass(banner, state.phase === "stopped" ? "bad" : "");
    if (lost) {
      const tries = state.attempt > 1 ? ` ${count(state.attempt)} attempts so far.` : "";
      setText(byId("banner-text"), `${state.lastError?.message}${tries}`);
      setText(this.action, state.phase === "connecting" ? "Connecting …" : "Connect now");
    } else if (this.#problem !== null) {
      setText(byId("banner-text"), `Numbers may be old: ${this.#problem}`);
      setText(this.action, "Ask again");
    } else {
      setText(byId("banner-text"), "relayd was updated. This page is from before.");
      setText(this.action, "Load it anew");
    }
  }

  /** @param {import("./connection.js").State} state */
  #showTitle(state) {
    const sessions = this.#store.now?.sessions;
    const live = sessions === undefined ? "relayd" : `${count(sessions)} · relayd`;
    const title = state.phase === "live" ? live : `${PHASES[state.phase][1]} · relayd`;
    if (document.title !== title) document.title = title;
  }
}

/** @param {{role: string, tenant: string, name: string}} identity */
function scope({ role, tenant, name }) {
  return `${role === "operator" ? "all tenants" : `tenant ${tenant}`} · ${name}, ${role}`;
}

/** @param {import("./connection.js").State} state */
function lastError({ lastError: error }) {
  if (!error) return "No error since this page was opened.";
  const code = error.code === null ? "" : ` (${error.code})`;
  return `Last error, ${clock(error.at)}: ${error.message}${code}`;
}

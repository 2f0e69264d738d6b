/**
 * Asks for the state again and again, since events say what changed and not how things stand.
 *
 * A hidden page asks for nothing. An answer that took long is not asked for again soon.
 */

import { ApiError } from "./api.js";

/** How often each part is asked for. */
const EVERY_MS = { overview: 15_000, sessions: 5_000, accounts: 10_000 };

/** A part of the time that answers may take: the next question waits so many times as long. */
const REST_FACTOR = 10;

/** After a question that failed. */
const FAILED_MS = 10_000;

/** @typedef {keyof typeof EVERY_MS} What */

export class Refresher {
  /** @type {import("./api.js").Api} */ #api;
  /** @type {import("./store.js").Store} */ #store;
  /** @type {(message: string | null) => void} */ #onProblem;
  /** @type {(message: string) => void} */ #onRefused;
  /** @type {() => number} */ #clock;
  /** @type {Map<What, number>} */ #dueAt = new Map();
  /** @type {Set<What>} */ #asking = new Set();
  /** @type {Map<What, string>} */ #problems = new Map();
  /** What was asked for in vain: an answer that is on its way may be too old. */
  #generation = 0;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./store.js").Store} store
   * @param {{onProblem: (message: string | null) => void, onRefused: (message: string) => void}}
   *   tell What was not answered, `null` once all is; and that the key is not valid any more.
   * @param {() => number} [clock] ms
   */
  constructor(api, store, { onProblem, onRefused }, clock = Date.now) {
    this.#api = api;
    this.#store = store;
    this.#onProblem = onProblem;
    this.#onRefused = onRefused;
    this.#clock = clock;
  }

  /** Everything is to be asked for now; what is on its way is not believed. */
  reset() {
    this.#generation++;
    this.#asking.clear();
    this.#dueAt.clear();
    this.#problems.clear();
    this.#onProblem(null);
  }

  /** @param {What} what */
  soon(what) {
    this.#dueAt.set(what, 0);
  }

  /** Ask for what is due. @param {number} now ms */
  tick(now) {
    if (!this.#store.identity) return;
    for (const what of /** @type {What[]} */ (Object.keys(EVERY_MS))) {
      if (what === "accounts" && !this.#store.isOperator) continue;
      if (this.#asking.has(what) || now < (this.#dueAt.get(what) ?? 0)) continue;
      this.#ask(what, now);
    }
  }

  /** @param {What} what @param {number} askedAt */
  async #ask(what, askedAt) {
    const generation = this.#generation;
    this.#asking.add(what);
    this.#dueAt.set(what, Infinity); // unless somebody asks for it soon, while it is on its way
    let rest = FAILED_MS;
    try {
      const take = await this.#fetch(what, askedAt);
      if (generation !== this.#generation) return;
      take();
      rest = Math.max(EVERY_MS[what], (this.#clock() - askedAt) * REST_FACTOR);
      this.#problems.delete(what);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (generation !== this.#generation) return;
      if (error.status === 401) return this.#onRefused(error.message);
      this.#problems.set(what, error.message);
    } finally {
      if (generation === this.#generation) {
        this.#asking.delete(what);
        if (this.#dueAt.get(what) === Infinity) this.#dueAt.set(what, this.#clock() + rest);
      }
    }
    this.#onProblem([...this.#problems.values()][0] ?? null);
  }

  /** @param {What} what @param {number} askedAt @returns {Promise<() => void>} */
  async #fetch(what, askedAt) {
    if (what === "overview") {
      const overview = await this.#api.overview();
      return () => this.#store.setOverview(overview);
    }
    if (what === "sessions") {
      const { rows, complete } = await this.#api.sessions();
      return () => this.#store.setSessions(rows, complete, askedAt);
    }
    const { rows } = await this.#api.accounts();
    return () => this.#store.setAccounts(rows);
  }
}

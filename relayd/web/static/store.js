/**
 * What the page knows. Whoever shows a part of it is told, once for many changes, when that part
 * has changed.
 */

import { EventLog } from "./event-log.js";
import { isOwn } from "./provenance.js";
import { appendStep, emptySeries, readSeries } from "./series.js";
import { LISTENER, Sessions } from "./sessions.js";

/** Costs per key and model are asked for now and then; so many of them make a spark line. */
export const COST_SAMPLES_MAX = 60;

/** Samples of how many sessions there were, one for each stats event that came. */
export const LOAD_SAMPLES_MAX = 360;

/** @typedef {"connection" | "identity" | "overview" | "sessions" | "accounts" | "events"} Part */

export class Store {
  /** @type {import("./connection.js").State | null} */ connection = null;
  /** Who is signed in. @type {{role: string, tenant: string, name: string} | null} */
  identity = null;
  /** @type {any} The rates of this moment. */ now = null;
  /** @type {any} The latest overview. */ overview = null;
  series = emptySeries();
  sessions = new Sessions();
  /** @type {any[]} */ accounts = [];
  events = new EventLog();
  /** @type {number[]} */ load = [];
  /** How many sessions the server has that this page does not list. */
  unlisted = 0;
  /** When what is shown was last true, in ms. */
  asOf = 0;
  /** @type {Map<string, number[]>} What each key and model cost between two answers. */
  costs = new Map();
  /** @type {Map<string, number>} */ #costSoFar = new Map();
  /** @type {{parts: Part[], show: () => void}[]} */ #viewers = [];
  /** @type {Set<Part>} */ #changed = new Set();
  #scheduled = false;
  /** @type {(run: () => void) => void} */ #schedule;
  /** @type {() => number} */ #clock;

  /** @param {(run: () => void) => void} schedule Calls back soon, once; a page's next frame.
   * @param {() => number} clock ms */
  constructor(schedule, clock) {
    this.#schedule = schedule;
    this.#clock = clock;
  }

  /** @param {Part[]} parts @param {() => void} show */
  watch(parts, show) {
    this.#viewers.push({ parts, show });
  }

  /** @param {Part[]} parts */
  changed(...parts) {
    for (const part of parts) this.#changed.add(part);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => this.#tell());
  }

  #tell() {
    const changed = this.#changed;
    this.#changed = new Set();
    this.#scheduled = false;
    for (const { parts, show } of this.#viewers) {
      if (parts.some((part) => changed.has(part))) show();
    }
  }

  /** Somebody has signed out: nothing of theirs stays. */
  forget() {
    this.identity = this.now = this.overview = null;
    this.series = emptySeries();
    this.sessions.clear();
    this.accounts = [];
    this.events.clear();
    this.load = [];
    this.unlisted = this.asOf = 0;
    this.costs.clear();
    this.#costSoFar.clear();
    this.changed("identity", "overview", "sessions", "accounts", "events");
  }

  get isOperator() {
    return this.identity?.role === "operator";
  }

  // -- answers

  /** @param {any} overview */
  setOverview(overview) {
    this.overview = overview;
    this.now = overview.now ?? this.now;
    this.series = readSeries(overview.series);
    this.asOf = this.#clock();
    this.#sampleCosts("key", overview.keys, (row) => `${row.tenant} ${row.key}`);
    this.#sampleCosts("model", overview.models, (row) => row.model);
    this.changed("overview");
  }

  /** @param {any[]} rows @param {boolean} complete @param {number} askedAt */
  setSessions(rows, complete, askedAt) {
    this.sessions.replace(rows, complete, askedAt, this.#clock());
    const listed = this.sessions.all().filter(({ dialect }) => dialect !== LISTENER).length;
    const all = complete && !this.sessions.isFull;
    this.unlisted = all ? 0 : Math.max(0, (this.now?.sessions ?? 0) - listed);
    this.changed("sessions");
  }

  /** @param {any[]} rows */
  setAccounts(rows) {
    this.accounts = rows.filter((row) => typeof row?.name === "string");
    this.changed("accounts");
  }

  // -- events

  /**
   * Take over figures: those of all for operators, else those of the own tenant.
   *
   * @param {import("./router.js").Envelope} envelope @returns {boolean} Whether no step is missing.
   */
  stats({ topic, data }) {
    if (!this.identity) return true;
    if (topic !== (this.isOperator ? "ops" : `tenant:${this.identity.tenant}`)) return true;
    if (data?.now) {
      this.now = data.now;
      this.load.push(data.now.sessions ?? 0);
      if (this.load.length > LOAD_SAMPLES_MAX) this.load.shift();
    }
    this.asOf = this.#clock();
    this.changed("overview");
    return data?.step ? appendStep(this.series, data.step) : true;
  }

  /** @param {import("./router.js").Envelope} envelope */
  log(envelope) {
    this.events.add(envelope, this.#clock());
    this.changed("events");
  }

  /** What relayd says of a session or its turns. @param {import("./router.js").Envelope} envelope */
  session(envelope) {
    const { event, session_id: id, tenant, data } = envelope;
    if (!id || !isOwn(envelope)) return;
    const now = this.#clock();
    switch (event) {
      case "session.opened":
        this.sessions.open(id, tenant, data, now);
        break;
      case "session.connected":
      case "session.failed_over":
        this.sessions.touch(id, data, now);
        break;
      case "turn.started":
        this.sessions.touch(id, data, now, "busy");
        break;
      case "turn.ended":
        this.sessions.countTurn(id, now);
        break;
      case "session.ended":
        this.sessions.end(id, data, now);
        break;
      default:
        return;
    }
    this.changed("sessions");
  }

  /** Events were missed: what the next answer does not name is there no more. */
  missed() {
    this.sessions.doubt();
  }

  /** Time has passed. */
  tick() {
    this.sessions.sweep(this.#clock());
    this.changed("sessions", "events", "connection");
  }

  /** @param {string} kind @param {unknown} rows @param {(row: any) => string} nameOf */
  #sampleCosts(kind, rows, nameOf) {
    const named = new Set();
    for (const row of Array.isArray(rows) ? rows : []) {
      const name = `${kind} ${nameOf(row)}`;
      named.add(name);
      const before = this.#costSoFar.get(name);
      const cost = Number(row.cost_usd) || 0;
      this.#costSoFar.set(name, cost);
      if (before === undefined) continue;
      const samples = this.costs.get(name) ?? [];
      samples.push(Math.max(0, cost - before));
      if (samples.length > COST_SAMPLES_MAX) samples.shift();
      this.costs.set(name, samples);
    }
    for (const name of this.#costSoFar.keys()) { // clients choose models' names: no end of them
      if (!name.startsWith(`${kind} `) || named.has(name)) continue;
      this.#costSoFar.delete(name);
      this.costs.delete(name);
    }
  }
}

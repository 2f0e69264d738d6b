/** The last events, held still on demand: what comes meanwhile is counted and kept. */

import { isBorrowed, isOwn } from "./provenance.js";
import { matcher } from "./sessions.js";
import { summaryOf } from "./summary.js";

export const EVENTS_MAX = 1_000;

/** relayd's events that are drawn elsewhere: a line a second would wash away the others. */
const NOT_LISTED = new Set(["stats"]);

/**
 * @typedef {import("./router.js").Envelope} Envelope
 * @typedef {{number: number, at: number, envelope: Envelope, summary: string, text: string}} Entry
 */

export class EventLog {
  /** @type {Entry[]} */ #entries = [];
  /** @type {Entry[] | null} */ #held = null;
  #number = 0;
  #newWhileHeld = 0;
  /** @type {number[]} Arrivals in each of the last seconds. */ #arrivals = [];
  #second = 0;

  get paused() {
    return this.#held !== null;
  }

  /** How many came since the list was held still. */
  get waiting() {
    return this.#newWhileHeld;
  }

  /** @param {Envelope} envelope @param {number} now */
  add(envelope, now) {
    if (NOT_LISTED.has(envelope.event) && isOwn(envelope)) return;
    this.#count(now);
    const summary = summaryOf(envelope.data);
    const text = [envelope.event, envelope.session_id ?? "", envelope.node_id ?? "",
      envelope.topic, summary].join(" ");
    this.#entries.push({ number: ++this.#number, at: timeOf(envelope, now), envelope, summary,
      text });
    if (this.#entries.length > EVENTS_MAX) this.#entries.splice(0, this.#entries.length - EVENTS_MAX);
    if (this.#held) this.#newWhileHeld++;
  }

  pause() {
    this.#held ??= [...this.#entries];
    this.#newWhileHeld = 0;
  }

  resume() {
    this.#held = null;
    this.#newWhileHeld = 0;
  }

  clear() {
    this.#entries = [];
    this.resume();
  }

  /** The newest first. @param {string} filter @param {number} max @returns {Entry[]} */
  latest(filter, max) {
    const matches = matcher(filter, entryText);
    const entries = this.#held ?? this.#entries;
    const found = [];
    for (let index = entries.length - 1; index >= 0 && found.length < max; index--) {
      if (matches(entries[index])) found.push(entries[index]);
    }
    return found;
  }

  /** Events a second, over the last five. @param {number} now */
  perSecond(now) {
    this.#advance(now);
    return this.#arrivals.reduce((sum, each) => sum + each, 0) / 5;
  }

  /** @param {number} now */
  #count(now) {
    this.#advance(now);
    this.#arrivals[this.#arrivals.length - 1]++;
  }

  /** @param {number} now */
  #advance(now) {
    const second = Math.floor(now / 1000);
    const passed = this.#arrivals.length ? Math.min(Math.max(second - this.#second, 0), 5) : 5;
    for (let each = 0; each < passed; each++) this.#arrivals.push(0);
    this.#arrivals.splice(0, this.#arrivals.length - 5);
    this.#second = Math.max(second, this.#second);
  }
}

/** @param {Entry} entry @param {string | null} field */
function entryText(entry, field) {
  const { envelope } = entry;
  if (field === null) return entry.text;
  if (field === "event" || field === "topic") return envelope[field] ?? "";
  if (field === "tenant") return tenantOf(envelope);
  if (field === "session") return envelope.session_id ?? "";
  if (field === "node") return envelope.node_id ?? "";
  const value = envelope.data?.[field];
  return value === undefined || typeof value === "object" ? "" : String(value);
}

/** `ops` belongs to no tenant: there relayd says in the data whose it is. @param {Envelope} envelope */
function tenantOf(envelope) {
  const said = isOwn(envelope) ? envelope.data?.tenant : "";
  return envelope.tenant || (typeof said === "string" ? said : "");
}

/** @param {Envelope} envelope @param {number} now */
function timeOf(envelope, now) {
  const at = Date.parse(envelope.ts);
  return Number.isNaN(at) ? now : at;
}

/** What kind of news an event is: its shape and colour in the list. @param {Envelope} envelope
 * @returns {"good" | "bad" | "warn" | "work" | "plain"} */
export function kindOf(envelope) {
  const { event, data } = envelope;
  if (isBorrowed(envelope)) return "plain";
  if (event === "error" || /failed$|[.:]error$/.test(event)) return "bad";
  if (event === "session.ended") return FAULTLESS.has(data?.fault ?? "none") ? "plain" : "bad";
  if (event === "turn.ended") return DONE.has(data?.reason ?? "completed") ? "plain" : "warn";
  if (event === "session.failed_over" || /(refused|paused|required)$/.test(event)) return "warn";
  if (event === "account.changed") return data?.state === "closed" ? "good" : "warn";
  if (event === "session.opened" || event === "session.connected") return "good";
  return /^(turn|usage)[._]|^(token|node)/.test(event) ? "work" : "plain";
}

const FAULTLESS = new Set(["none", "client"]);
const DONE = new Set(["completed", "cancelled", "incomplete"]);

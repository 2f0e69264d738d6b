/**
 * The live sessions: a list that is asked for now and then, and events in between.
 *
 * An answer may be older than an event that came while it was on its way: what ended meanwhile
 * stays ended, what was opened meanwhile stays.
 */

import { isNumber } from "./format.js";

/** How long an ended session is still shown, with the word for why it ended. */
export const ENDED_SHOWN_MS = 6_000;

/** Samples of a session's traffic, one each time the list is asked for. */
export const SAMPLES_MAX = 30;

/** Ended sessions that are remembered against answers that are older: so long, and so many. */
const ENDED_REMEMBERED_MS = 60_000;
export const ENDED_MAX = 10_000;

/** Sessions that are listed; the server may have more, and the page says how many. */
export const SESSIONS_MAX = 4_000;

/** The dialect of those who follow events: sessions too, but none that relayd relays. */
export const LISTENER = "hub";

/** What a row of an answer says. */
const ROW_TEXTS = ["dialect", "key", "tenant", "account", "model", "state", "client_address"];
const ROW_NUMBERS = ["turns", "messages_up", "messages_down"];

/** What an event's data says; whose session it is, the envelope says. */
const EVENT_TEXTS = ["dialect", "key", "account", "model"];

/**
 * @typedef {object} Session
 * @property {string} session_id
 * @property {string} dialect @property {string} key @property {string} tenant
 * @property {string} account @property {string} model @property {string} state
 * @property {string} client_address
 * @property {number} startedAt ms of the page's clock.
 * @property {number} turns
 * @property {number | null} messages_up @property {number | null} messages_down `null` until an
 *   answer has told: events of a live session do not.
 * @property {number[]} traffic Messages between two answers, the oldest first.
 * @property {number | null} endedAt
 * @property {number} touched When an event last spoke of it.
 */

export class Sessions {
  /** @type {Map<string, Session>} */ #live = new Map();
  /** @type {Map<string, number>} */ #ended = new Map();
  #isDoubtful = false;

  get size() {
    return this.#live.size;
  }

  /** Whether there is room for none that is new. */
  get isFull() {
    return this.#live.size >= SESSIONS_MAX;
  }

  /** @param {string} id */
  get(id) {
    return this.#live.get(id);
  }

  /** @returns {Session[]} */
  all() {
    return [...this.#live.values()];
  }

  clear() {
    this.#live.clear();
    this.#ended.clear();
    this.#isDoubtful = false;
  }

  /** Events were missed: of what the next answer does not name, nobody knows that it still runs. */
  doubt() {
    this.#isDoubtful = true;
  }

  /**
   * Take over an answer.
   *
   * @param {any[]} rows
   * @param {boolean} complete Whether it names all sessions; else those that it does not stay.
   * @param {number} askedAt When it was asked for.
   * @param {number} now
   */
  replace(rows, complete, askedAt, now) {
    const known = rows.filter((row) =>
      typeof row?.session_id === "string" && !this.#ended.has(row.session_id));
    if (complete || this.#isDoubtful) {
      this.#dropAllBut(new Set(known.map((row) => row.session_id)), askedAt);
    }
    this.#isDoubtful = false;
    for (const row of known) this.#take(row, now);
  }

  /** @param {Set<string>} named @param {number} askedAt */
  #dropAllBut(named, askedAt) {
    for (const [id, session] of this.#live) {
      const since = session.touched > askedAt || session.endedAt !== null;
      if (!since && !named.has(id)) this.#live.delete(id);
    }
  }

  /** @param {any} row @param {number} now */
  #take(row, now) {
    const session = this.#live.get(row.session_id) ?? this.#add(row.session_id, now);
    if (!session || session.endedAt !== null) return;
    const before = messagesOf(session);
    merge(session, row, ROW_TEXTS, ROW_NUMBERS);
    if (isNumber(row.duration_s)) session.startedAt = steady(session, now - row.duration_s * 1e3);
    const after = messagesOf(session);
    if (before !== null && after !== null) sample(session, after - before);
  }

  /** A session has begun. @param {string} id @param {string} tenant Whose it is; empty where the
   *   topic does not say. @param {any} data @param {number} now */
  open(id, tenant, data, now) {
    if (this.#ended.has(id)) return;
    const session = this.#live.get(id) ?? this.#add(id, now);
    if (!session) return;
    if (tenant) session.tenant = tenant;
    session.state ||= "idle";
    this.touch(id, data, now);
  }

  /** Something was said about a session. @param {string} id @param {any} data
   * @param {number} now @param {string} [state] What it is in from now on. */
  touch(id, data, now, state) {
    const session = this.#live.get(id);
    if (!session || session.endedAt !== null) return;
    merge(session, data, EVENT_TEXTS, []);
    if (state) session.state = state;
    session.touched = now;
  }

  /** One more turn is over. @param {string} id @param {number} now */
  countTurn(id, now) {
    const session = this.#live.get(id);
    if (session && session.endedAt === null) {
      session.turns++;
      session.state = "idle";
      session.touched = now;
    }
  }

  /** It is over; what it came to is said with it. @param {string} id @param {any} data
   * @param {number} now */
  end(id, data, now) {
    const session = this.#live.get(id);
    if (session && session.endedAt === null) {
      merge(session, data, [], ROW_NUMBERS);
      session.endedAt = now;
      session.state = typeof data?.reason === "string" ? data.reason : "ended";
    }
    this.#ended.set(id, now);
    if (this.#ended.size <= ENDED_MAX) return;
    const [longestAgo] = this.#ended.keys();
    this.#ended.delete(longestAgo);
  }

  /** Forget what ended a while ago. @param {number} now @returns {boolean} Whether any did. */
  sweep(now) {
    let changed = false;
    for (const [id, session] of this.#live) {
      if (session.endedAt !== null && now - session.endedAt >= ENDED_SHOWN_MS) {
        changed = this.#live.delete(id);
      }
    }
    for (const [id, at] of this.#ended) {
      if (now - at < ENDED_REMEMBERED_MS) break; // they stand in order
      this.#ended.delete(id);
    }
    return changed;
  }

  /** @param {string} id @param {number} now @returns {Session | null} `null`: there is no room. */
  #add(id, now) {
    if (this.isFull) return null;
    const session = { session_id: id, dialect: "", key: "", tenant: "", account: "", model: "",
      state: "", client_address: "", startedAt: now, turns: 0, messages_up: null,
      messages_down: null, traffic: [], endedAt: null, touched: 0 };
    this.#live.set(id, session);
    return session;
  }
}

/** Known fields of the right type alone: what else is sent is not shown.
 * @param {any} session @param {any} data @param {string[]} texts @param {string[]} numbers */
function merge(session, data, texts, numbers) {
  if (data === null || typeof data !== "object") return;
  for (const name of texts) if (typeof data[name] === "string") session[name] = data[name];
  for (const name of numbers) if (isNumber(data[name])) session[name] = data[name];
}

/** Both ways; `null` where it is not known. @param {Session} session */
function messagesOf({ messages_up: up, messages_down: down }) {
  return up === null || down === null ? null : up + down;
}

/** A start that was worked out from an age jumps about by some ms; let it stand.
 * @param {Session} session @param {number} startedAt */
function steady(session, startedAt) {
  return Math.abs(session.startedAt - startedAt) < 1_500 ? session.startedAt : startedAt;
}

/** @param {Session} session @param {number} messages */
function sample(session, messages) {
  session.traffic.push(Math.max(0, messages));
  if (session.traffic.length > SAMPLES_MAX) session.traffic.shift();
}

// -- looking through them

/**
 * @param {string} text Words that must all be there; `field:word` looks in one field, `-word`
 *   must not be there.
 * @param {(item: any, field: string | null) => string} textOf
 * @returns {(item: any) => boolean}
 */
export function matcher(text, textOf) {
  const terms = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const wanted = !(word.length > 1 && word.startsWith("-"));
    const rest = wanted ? word : word.slice(1);
    const colon = rest.indexOf(":");
    const field = colon > 0 ? rest.slice(0, colon) : null;
    return { wanted, rest, field, value: field === null ? rest : rest.slice(colon + 1) };
  });
  return (item) => terms.every(({ wanted, rest, field, value }) => {
    const inField = field !== null && textOf(item, field).toLowerCase().includes(value);
    return (inField || textOf(item, null).toLowerCase().includes(rest)) === wanted;
  });
}

const FIELDS = { id: "session_id", session: "session_id", address: "client_address" };
const SEARCHED = ["session_id", "dialect", "key", "tenant", "account", "model", "state",
  "client_address"];

/** @param {any} session @param {string | null} field */
export function sessionText(session, field) {
  if (field === null) return SEARCHED.map((name) => session[name]).join(" ");
  const name = FIELDS[/** @type {keyof typeof FIELDS} */ (field)] ?? field;
  return SEARCHED.includes(name) ? String(session[name]) : "";
}

/**
 * @template T
 * @param {T[]} items Sorted in place; equal ones by `tie`, so that rows do not jump about.
 * @param {(item: T) => string | number | null} by @param {boolean} descending
 * @param {(item: T) => string} tie
 */
export function sortBy(items, by, descending, tie) {
  const sign = descending ? -1 : 1;
  return items.sort((a, b) => {
    const [left, right] = [by(a), by(b)];
    if (left === right) return tie(a) < tie(b) ? -1 : 1;
    if (left === null || left === "") return 1; // what is not known stands at the end
    if (right === null || right === "") return -1;
    return (left < right ? -1 : 1) * sign;
  });
}

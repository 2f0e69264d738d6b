/** The live events: the newest on top, filtered, held still on demand. */

import { byId, el, setShown, setText } from "./dom.js";
import { kindOf } from "./event-log.js";
import { clock, count, rate } from "./format.js";
import { isBorrowed } from "./provenance.js";

/** Rows in the page; what is older is found by the filter. */
const ROWS_MAX = 150;

/** The list is drawn no more often than this: nobody reads faster. */
const DRAW_EVERY_MS = 200;

/** Nor more often than this where more come each second than can be read. */
const MANY_PER_SECOND = 5;
const DRAW_MANY_EVERY_MS = 1_000;

export class EventsView {
  /** @type {import("./store.js").Store} */ #store;
  /** @type {Map<number, HTMLElement>} Rows in the page, by the number of their event. */
  #rows = new Map();
  /** @type {Set<number>} Those that show all of their data. */ #opened = new Set();
  #drawnAt = -Infinity;
  /** @type {any} */ #timer = null;

  /** @param {import("./store.js").Store} store @param {(on: boolean) => void} onStreams */
  constructor(store, onStreams) {
    this.#store = store;
    this.list = byId("events-list");
    this.input = /** @type {HTMLInputElement} */ (byId("events-filter"));
    this.input.addEventListener("input", () => this.show());
    this.pauseButton = byId("events-pause");
    this.pauseButton.addEventListener("click", () => this.toggle());
    const streams = /** @type {HTMLInputElement} */ (byId("events-streams"));
    streams.addEventListener("change", () => onStreams(streams.checked));
    store.watch(["events"], () => this.#showSoon());
  }

  /** Hold the list still, or let it go on. */
  toggle() {
    const { events } = this.#store;
    if (events.paused) events.resume();
    else events.pause();
    this.show();
  }

  /** @param {string} filter */
  filterBy(filter) {
    this.input.value = filter;
    this.show();
  }

  #showSoon() {
    if (this.#timer !== null) return;
    const many = this.#store.events.perSecond(Date.now()) > MANY_PER_SECOND;
    const rest = this.#drawnAt + (many ? DRAW_MANY_EVERY_MS : DRAW_EVERY_MS) - performance.now();
    if (rest <= 0) this.show();
    else this.#timer = setTimeout(() => this.show(), rest);
  }

  show() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#drawnAt = performance.now();
    const { events } = this.#store;
    const entries = events.latest(this.input.value, ROWS_MAX);
    this.#drawRows(entries);
    this.pauseButton.setAttribute("aria-pressed", String(events.paused));
    setText(this.pauseButton, events.paused ? `Resume · ${count(events.waiting)} new` : "Pause");
    setText(byId("events-rate"), `${rate(events.perSecond(Date.now()))}/s`);
    setShown(byId("events-empty"), entries.length === 0);
    setText(byId("events-empty"), this.input.value
      ? "No event matches the filter."
      : "No events yet. Sessions, turns and published events appear here as they happen.");
  }

  /** Rows that stay are moved, not made anew. @param {import("./event-log.js").Entry[]} entries */
  #drawRows(entries) {
    const wanted = new Set(entries.map(({ number }) => number));
    for (const [number, row] of this.#rows) {
      if (wanted.has(number)) continue;
      row.remove();
      this.#rows.delete(number);
      this.#opened.delete(number);
    }
    let next = this.list.firstElementChild;
    for (const entry of entries) {
      let row = this.#rows.get(entry.number);
      if (!row) {
        row = this.#row(entry);
        this.#rows.set(entry.number, row);
      }
      if (row === next) next = row.nextElementSibling;
      else this.list.insertBefore(row, next);
    }
  }

  /** @param {import("./event-log.js").Entry} entry */
  #row(entry) {
    const { envelope } = entry;
    const kind = kindOf(envelope);
    const head = el("button", {
      class: "event-head",
      attributes: { type: "button", "aria-expanded": "false" },
      on: { click: () => this.#open(row, head, entry) },
    },
    el("time", {}, clock(entry.at)),
    el("i", { class: `mark ${MARKS[kind]}`, attributes: { "aria-hidden": "true" } }),
    el("b", {}, envelope.event),
    el("span", { class: "about" }, aboutOf(envelope)),
    el("span", { class: "summary" }, entry.summary));
    const row = el("li", { class: `event ${kind}` }, head);
    return row;
  }

  /** @param {HTMLElement} row @param {HTMLElement} head
   * @param {import("./event-log.js").Entry} entry */
  #open(row, head, entry) {
    const open = !this.#opened.delete(entry.number);
    if (open) {
      this.#opened.add(entry.number);
      row.append(el("pre", {}, JSON.stringify(entry.envelope, null, 2)));
    } else row.querySelector("pre")?.remove();
    head.setAttribute("aria-expanded", String(open));
  }
}

const MARKS = { good: "good", bad: "bad", warn: "warn", work: "busy", plain: "idle" };

/** @param {import("./router.js").Envelope} envelope */
function aboutOf(envelope) {
  const { session_id: session, node_id: node, topic } = envelope;
  if (isBorrowed(envelope)) return topic;
  if (session) return node ? `${session} ${node}` : session;
  return node ?? topic;
}

/** The live sessions: filtered, sorted, one selected, and ended by those who may. */

import { sparkCell, stateCell, textCell } from "./cells.js";
import { DataTable } from "./data-table.js";
import { byId, el, setShown, setText } from "./dom.js";
import { NOTHING, count, duration, plural } from "./format.js";
import { LISTENER, SAMPLES_MAX, matcher, sessionText, sortBy } from "./sessions.js";

const ROW_PX = 26;

/** Marks of the states that relayd names; any other word stands with a plain mark. */
const MARKS = { busy: "busy", idle: "idle", connecting: "trial", leaving: "warn", draining: "warn" };

/** Rows do not move under a pointer that aims at one, until it has rested for so long. */
const HOLD_MS = 5_000;

export class SessionsView {
  /** @type {import("./store.js").Store} */ #store;
  /** @type {(session: any) => void} */ #onKill;
  #filter = "";
  /** @type {any[]} */ #rows = [];
  /** @type {any} Runs while the rows are held where they are. */ #hold = null;

  /**
   * @param {import("./store.js").Store} store
   * @param {{onKill: (session: any) => void, onOpen: (session: any) => void,
   *   onListeners: (shown: boolean) => void}} actions
   */
  constructor(store, { onKill, onOpen, onListeners }) {
    this.#store = store;
    this.#onKill = onKill;
    this.table = new DataTable({
      label: "Live sessions",
      columns: this.#columns(),
      keyOf: (session) => session.session_id,
      rowHeight: ROW_PX,
      rowClass: (session) => (session.endedAt === null ? "" : "ended"),
      onSort: () => this.#letGo(),
      onSelect: () => {},
      onOpen,
    }, { column: "age", descending: false });
    this.table.element.addEventListener("pointermove", () => this.#holdStill());
    this.table.element.addEventListener("pointerleave", () => this.#letGo());
    this.empty = el("p", { class: "empty" });
    byId("sessions").append(this.table.element, this.empty);
    this.input = /** @type {HTMLInputElement} */ (byId("sessions-filter"));
    this.input.addEventListener("input", () => this.#setFilter());
    this.listeners = /** @type {HTMLInputElement} */ (byId("sessions-hub"));
    this.listeners.addEventListener("change", () => {
      onListeners(this.listeners.checked);
      this.#setFilter();
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") this.table.element.focus();
    });
    store.watch(["sessions", "identity"], () => this.show());
  }

  #setFilter() {
    this.#filter = this.input.value;
    this.table.element.scrollTop = 0;
    this.#letGo();
  }

  #holdStill() {
    clearTimeout(this.#hold);
    this.#hold = setTimeout(() => this.#letGo(), HOLD_MS);
  }

  #letGo() {
    clearTimeout(this.#hold);
    this.#hold = null;
    this.show();
  }

  /** The selected session, unless it has ended. */
  get selected() {
    const session = this.table.selectedRow;
    return session && session.endedAt === null ? session : null;
  }

  show() {
    const all = this.#store.sessions.all().filter((each) =>
      this.listeners.checked || each.dialect !== LISTENER);
    const matching = all.filter(matcher(this.#filter, sessionText));
    if (this.#hold === null || !this.#rows.length) this.#rows = this.#sorted(matching);
    const rows = this.#rows;
    this.table.show(rows);
    const live = (/** @type {any[]} */ list) => list.filter((each) => each.endedAt === null).length;
    this.#tellCount(live(matching), live(all));
    const operator = this.#store.isOperator;
    this.table.table.classList.toggle("for-operator", operator);
    setShown(this.table.element, rows.length > 0);
    setShown(this.empty, rows.length === 0);
    setText(this.empty, all.length
      ? "No session matches the filter."
      : "No sessions. They appear here the moment a client connects.");
  }

  /** @param {any[]} rows */
  #sorted(rows) {
    const { by } = this.table.sortColumn;
    const idOf = (/** @type {any} */ each) => each.session_id;
    return sortBy(rows, by ?? idOf, this.table.sort.descending, idOf);
  }

  /** @param {number} shown @param {number} all */
  #tellCount(shown, all) {
    const { unlisted } = this.#store;
    const of = unlisted ? `first ${count(all)} of ${count(all + unlisted)}` : plural(all, "session");
    setText(byId("sessions-count"), shown === all ? of : `${count(shown)} of ${of}`);
  }

  /** @returns {import("./data-table.js").Column[]} */
  #columns() {
    /** @param {string} name @param {string} label @param {any} [more] */
    const text = (name, label, more = {}) => ({
      name, label, by: (/** @type {any} */ row) => row[name].toLowerCase(),
      cell: textCell((row) => row[name] || NOTHING, (row) => row[name]), ...more,
    });
    /** @param {string} name @param {string} label @param {string} title */
    const number = (name, label, title) => ({
      name, label, title, class: "number", descends: true,
      by: (/** @type {any} */ row) => row[name], cell: textCell((row) => count(row[name])),
    });
    return [
      { name: "state", label: "State", by: (row) => row.state, cell: stateCell(stateOf) },
      text("session_id", "Session", { class: "id" }),
      text("dialect", "Dialect"),
      text("key", "Key"),
      text("tenant", "Tenant", { class: "operator" }),
      text("model", "Model"),
      text("account", "Account"),
      { name: "age", label: "Age", class: "number", title: "How long it has lasted",
        by: (row) => -row.startedAt,
        cell: textCell((row) => duration(((row.endedAt ?? Date.now()) - row.startedAt) / 1000)) },
      number("turns", "Turns", "Responses so far"),
      number("messages_up", "Up", "Messages from the client, as of the last count"),
      number("messages_down", "Down", "Messages to the client, as of the last count"),
      { name: "traffic", label: "Traffic", by: (row) => row.traffic.at(-1) ?? 0, descends: true,
        title: "Messages both ways over the last minutes",
        cell: sparkCell((row) => row.traffic, SAMPLES_MAX, "Messages both ways, last minutes") },
      text("client_address", "Address", { class: "operator wide id" }),
      { name: "kill", label: "", class: "operator", cell: (cell, rowOf) => this.#killCell(cell, rowOf) },
    ];
  }

  /** @param {HTMLElement} cell @param {() => any} rowOf */
  #killCell(cell, rowOf) {
    const button = el("button", {
      class: "kill", title: "End this session (k)",
      attributes: { type: "button", tabindex: "-1" },
      on: {
        click: (event) => {
          event.stopPropagation();
          this.#onKill(rowOf());
        },
      },
    }, "End");
    cell.append(button);
    return (/** @type {any} */ row) => {
      button.disabled = row.endedAt !== null;
      const label = `End session ${row.session_id}`;
      if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
    };
  }
}

/** @param {any} session */
function stateOf(session) {
  if (session.endedAt !== null) {
    return { mark: "gone", word: session.state, title: `It has ended: ${session.state}` };
  }
  const mark = MARKS[/** @type {keyof typeof MARKS} */ (session.state)] ?? "idle";
  return { mark, word: session.state || "open" };
}

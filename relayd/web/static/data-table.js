/**
 * A table that stays quick with thousands of rows: only those in sight are in the page, and a
 * cell is written only when its text has changed.
 */

import { el } from "./dom.js";

/** Rows above and below those in sight, for a scroll that outruns the next frame. */
const BEYOND = 6;

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {string} [class] Of its cells; `number` is set to the right.
 * @property {string} [title]
 * @property {(row: any) => string | number | null} [by] What it sorts by; without it, it does not.
 * @property {boolean} [descends] Whether the first click sorts the largest first.
 * @property {(cell: HTMLElement, rowOf: () => any) => (row: any) => void} cell Makes a cell's
 *   content once and returns what shows a row in it.
 *
 * @typedef {object} Options
 * @property {string} label What the table is, for those who cannot see it.
 * @property {Column[]} columns
 * @property {(row: any) => string} keyOf
 * @property {number} rowHeight In px; all rows are of one height.
 * @property {(row: any) => string} [rowClass]
 * @property {() => void} [onSort]
 * @property {(row: any | null) => void} [onSelect] With it, rows can be selected.
 * @property {(row: any) => void} [onOpen] Enter, or a double click.
 */

export class DataTable {
  /** @type {Options} */ #options;
  /** @type {any[]} */ #rows = [];
  /** @type {{element: HTMLTableRowElement, row: any, show: ((row: any) => void)[]}[]} */ #pool = [];
  /** @type {string | null} */ selected = null;
  /** @type {{column: string, descending: boolean}} */ sort;

  /** @param {Options} options @param {{column: string, descending: boolean}} sort */
  constructor(options, sort) {
    this.#options = options;
    this.sort = sort;
    this.above = el("tr", { class: "spacer", attributes: { "aria-hidden": "true" } });
    this.below = el("tr", { class: "spacer", attributes: { "aria-hidden": "true" } });
    this.body = el("tbody", {}, this.above, this.below);
    this.heads = options.columns.map((column) => this.#head(column));
    const role = options.onSelect ? "grid" : "table";
    this.table = el("table", { attributes: { role, "aria-label": options.label } },
      el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    this.element = el("div", {
      class: "table-scroll",
      attributes: { tabindex: "0", role: "region", "aria-label": options.label },
      on: { scroll: () => this.#draw(), keydown: (event) => this.#key(event) },
    }, this.table);
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** @param {any[]} rows In the order they are to stand in. */
  show(rows) {
    this.#rows = rows;
    this.table.setAttribute("aria-rowcount", String(rows.length + 1));
    if (this.selected !== null && this.selectedRow === null) this.select(null);
    this.#draw();
  }

  /** @returns {Column} */
  get sortColumn() {
    return this.#options.columns.find(({ name }) => name === this.sort.column)
      ?? this.#options.columns[0];
  }

  get selectedRow() {
    const { keyOf } = this.#options;
    return this.#rows.find((row) => keyOf(row) === this.selected) ?? null;
  }

  /** @param {any | null} row */
  select(row) {
    if (!this.#options.onSelect) return;
    this.selected = row === null ? null : this.#options.keyOf(row);
    this.#options.onSelect(row);
    this.#draw();
  }

  // -- the heads

  /** @param {Column} column */
  #head(column) {
    const cell = el("th", { class: `c-${column.name} ${column.class ?? ""}`,
      title: column.title ?? "", attributes: { scope: "col" } });
    if (!column.by) {
      cell.append(el("span", {}, column.label));
      return cell;
    }
    const button = el("button", { class: "sort", attributes: { type: "button" },
      on: { click: () => this.#sortBy(column) } }, el("span", {}, column.label));
    cell.append(button);
    if (this.sort.column === column.name) this.#mark(cell);
    return cell;
  }

  /** @param {Column} column */
  #sortBy(column) {
    const again = this.sort.column === column.name;
    this.sort = { column: column.name,
      descending: again ? !this.sort.descending : (column.descends ?? false) };
    this.heads.forEach((head, index) => {
      head.removeAttribute("aria-sort");
      if (this.#options.columns[index] === column) this.#mark(head);
    });
    this.#options.onSort?.();
  }

  /** @param {HTMLElement} head */
  #mark(head) {
    head.setAttribute("aria-sort", this.sort.descending ? "descending" : "ascending");
  }

  // -- the rows

  #draw() {
    const { rowHeight, keyOf, rowClass } = this.#options;
    const head = this.heads[0].offsetHeight;
    const inSight = Math.ceil(this.element.clientHeight / rowHeight) + 2 * BEYOND;
    const top = Math.floor((this.element.scrollTop - head) / rowHeight) - BEYOND;
    const first = Math.max(0, Math.min(top, this.#rows.length - inSight));
    const shown = this.#rows.slice(first, first + inSight);
    while (this.#pool.length < shown.length) this.#pool.push(this.#row());
    this.#pool.forEach((slot, index) => {
      const row = shown[index];
      slot.element.hidden = row === undefined;
      slot.row = row ?? null;
      if (row === undefined) return;
      const chosen = keyOf(row) === this.selected;
      const name = `${rowClass?.(row) ?? ""}${chosen ? " selected" : ""}`.trim();
      if (slot.element.className !== name) slot.element.className = name;
      if (this.#options.onSelect) slot.element.setAttribute("aria-selected", String(chosen));
      slot.element.setAttribute("aria-rowindex", String(first + index + 2));
      for (const show of slot.show) show(row);
    });
    this.above.style.height = `${first * rowHeight}px`;
    this.below.style.height = `${(this.#rows.length - first - shown.length) * rowHeight}px`;
  }

  #row() {
    const slot = { element: el("tr"), row: /** @type {any} */ (null),
      show: /** @type {((row: any) => void)[]} */ ([]) };
    for (const column of this.#options.columns) {
      const cell = el("td", { class: `c-${column.name} ${column.class ?? ""}` });
      slot.show.push(column.cell(cell, () => slot.row));
      slot.element.append(cell);
    }
    if (this.#options.onSelect) {
      slot.element.addEventListener("click", () => this.select(slot.row));
      slot.element.addEventListener("dblclick", () => this.#options.onOpen?.(slot.row));
    }
    this.below.before(slot.element);
    return slot;
  }

  // -- the keyboard

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.#options.onSelect || event.target !== this.element) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#options.rowHeight) - 2);
    const move = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity,
      End: Infinity }[event.key];
    if (move !== undefined) this.#move(move);
    else if (event.key === "Enter" && this.selectedRow) this.#options.onOpen?.(this.selectedRow);
    else if (event.key === "Escape" && this.selected !== null) this.select(null);
    else return;
    event.preventDefault();
  }

  /** @param {number} by */
  #move(by) {
    if (!this.#rows.length) return;
    const { keyOf, rowHeight } = this.#options;
    const from = this.#rows.findIndex((row) => keyOf(row) === this.selected);
    const to = Math.min(Math.max(from < 0 ? 0 : from + by, 0), this.#rows.length - 1);
    this.select(this.#rows[to]);
    const head = this.heads[0].offsetHeight;
    const { scrollTop, clientHeight } = this.element;
    const top = to * rowHeight;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + rowHeight + head > scrollTop + clientHeight) {
      this.element.scrollTop = top + rowHeight + head - clientHeight;
    }
  }
}

/** What keys and models cost, the dearest first, and how turns ended. */

import { meterCell, sparkCell, textCell } from "./cells.js";
import { DataTable } from "./data-table.js";
import { byId, el, setShown } from "./dom.js";
import { NOTHING, count, short, usd } from "./format.js";
import { sortBy } from "./sessions.js";
import { COST_SAMPLES_MAX } from "./store.js";

const ROW_PX = 26;

/** @param {string} id Of its panel. @param {string} label
 * @param {import("./data-table.js").Column[]} columns @param {string} sorted
 * @param {(row: any) => string} keyOf @param {string} nothing */
function ranking(id, label, columns, sorted, keyOf, nothing) {
  /** @type {any[]} */ let rows = [];
  const empty = el("p", { class: "empty" }, nothing);
  const table = new DataTable({ label, columns, keyOf, rowHeight: ROW_PX, onSort: () => show(rows) },
    { column: sorted, descending: true });
  byId(id).append(table.element, empty);
  /** @param {any[]} given */
  const show = (given) => {
    rows = given;
    table.show(sortBy([...rows], table.sortColumn.by ?? keyOf, table.sort.descending, keyOf));
    setShown(table.element, rows.length > 0);
    setShown(empty, rows.length === 0);
  };
  return { table, show };
}

/** @param {import("./store.js").Store} store */
export function showCosts(store) {
  const parts = [
    costTable(store, "keys", "key", (row) => `${row.tenant} ${row.key}`, [
      { name: "key", label: "Key", class: "id", by: (row) => row.key,
        cell: textCell((row) => row.key, (row) => row.key) },
      { name: "tenant", label: "Tenant", class: "operator", by: (row) => row.tenant,
        cell: textCell((row) => row.tenant || NOTHING) },
    ]),
    costTable(store, "models", "model", (row) => row.model, [
      { name: "model", label: "Model", class: "id", by: (row) => row.model,
        cell: textCell((row) => row.model, (row) => row.model) },
    ]),
    endings(store),
  ];
  store.watch(["overview", "identity"], () => parts.forEach((show) => show()));
}

/** @param {import("./store.js").Store} store @param {"keys" | "models"} many @param {string} kind
 * @param {(row: any) => string} nameOf @param {import("./data-table.js").Column[]} names */
function costTable(store, many, kind, nameOf, names) {
  let most = 0;
  const cost = (/** @type {any} */ row) => Number(row.cost_usd) || 0;
  const { table, show } = ranking(many, `Cost by ${kind}`, [
    ...names,
    { name: "turns", label: "Turns", class: "number", descends: true, by: (row) => row.turns,
      cell: textCell((row) => short(row.turns), (row) => count(row.turns)) },
    { name: "tokens_in", label: "In", class: "number", descends: true, title: "Tokens in",
      by: (row) => row.tokens_in, cell: textCell((row) => short(row.tokens_in)) },
    { name: "tokens_out", label: "Out", class: "number", descends: true, title: "Tokens out",
      by: (row) => row.tokens_out, cell: textCell((row) => short(row.tokens_out)) },
    { name: "trend", label: "Trend", title: "What it cost lately",
      cell: sparkCell((row) => store.costs.get(`${kind} ${nameOf(row)}`) ?? [],
        COST_SAMPLES_MAX, "What it cost while this page was open") },
    { name: "cost", label: "Cost", class: "number", descends: true, by: cost,
      cell: meterCell((row) => ({
        parts: [{ name: "cost", share: most > 0 ? cost(row) / most : 0 }],
        text: row.cost_usd === null ? NOTHING : usd(cost(row)),
      }), ["cost"]) },
  ], "cost", nameOf, "Nothing has been used since relayd started.");
  return () => {
    const rows = store.overview?.[many] ?? [];
    most = Math.max(0, ...rows.map(cost));
    table.table.classList.toggle("for-operator", store.isOperator);
    show(rows);
  };
}

/** @param {import("./store.js").Store} store */
function endings(store) {
  let all = 0;
  const { show } = ranking("reasons", "How turns ended", [
    { name: "reason", label: "Reason", class: "id", by: (row) => row.reason,
      cell: textCell((row) => row.reason, (row) => row.reason) },
    { name: "share", label: "How often", class: "number", descends: true, by: (row) => row.number,
      cell: meterCell((row) => ({
        parts: [{ name: "plain", share: all > 0 ? row.number / all : 0 }],
        text: count(row.number),
      }), ["plain"]) },
  ], "share", (row) => row.reason, "No turn has ended since relayd started.");
  return () => {
    const rows = Object.entries(store.overview?.reasons ?? {})
      .map(([reason, number]) => ({ reason, number: Number(number) || 0 }));
    all = rows.reduce((sum, { number }) => sum + number, 0);
    show(rows);
  };
}

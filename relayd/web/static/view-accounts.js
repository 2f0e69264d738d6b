/** The accounts: breaker, load and pool. Operators alone are told of them. */

import { meterCell, stateCell, textCell } from "./cells.js";
import { DataTable } from "./data-table.js";
import { byId, el, setShown, setText } from "./dom.js";
import { NOTHING, count, duration, plural } from "./format.js";
import { sortBy } from "./sessions.js";

const ROW_PX = 30;

/** What each state of an account says, and how it is marked; the last ones want looking at. */
const STATES = {
  closed: ["good", "The breaker is closed: it takes sessions."],
  probation: ["trial", "The breaker lets one session through, to see whether it works again."],
  open: ["bad", "The breaker is open: it failed, or asked for a rest, and gets no session for a while."],
  disabled: ["bad", "Its owner must mend something first, such as a revoked key."],
  off: ["off", "It is switched off."],
};
const ORDER = ["disabled", "open", "probation", "closed", "off"];

export class AccountsView {
  /** @type {import("./store.js").Store} */ #store;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.#store = store;
    this.table = new DataTable({
      label: "Accounts",
      columns: columns(),
      keyOf: (account) => account.name,
      rowHeight: ROW_PX,
      onSort: () => this.show(),
    }, { column: "state", descending: false });
    this.empty = el("p", { class: "empty" }, "No accounts are configured.");
    byId("accounts").append(this.table.element, this.empty);
    store.watch(["accounts", "identity"], () => this.show());
  }

  show() {
    const { accounts, isOperator } = this.#store;
    setShown(byId("accounts"), isOperator);
    const { by } = this.table.sortColumn;
    const rows = sortBy([...accounts], by ?? ((each) => each.name), this.table.sort.descending,
      (each) => each.name);
    this.table.show(rows);
    setShown(this.table.element, rows.length > 0);
    setShown(this.empty, rows.length === 0);
    const out = rows.filter((each) => stateOf(each).mark === "bad");
    const all = plural(rows.length, "account");
    setText(byId("accounts-count"), out.length ? `${all}, ${out.length} out of use` : all);
  }
}

/** @returns {import("./data-table.js").Column[]} */
function columns() {
  return [
    { name: "state", label: "Breaker", by: (row) => ORDER.indexOf(stateOf(row).word),
      cell: stateCell(stateOf) },
    { name: "name", label: "Account", class: "id", by: (row) => row.name,
      cell: textCell((row) => row.name, (row) => row.name) },
    { name: "provider", label: "Provider", by: (row) => row.provider,
      cell: textCell((row) => row.provider ?? NOTHING, (row) => (row.dialects ?? []).join(", ")) },
    { name: "load", label: "Sessions", by: (row) => row.sessions, descends: true,
      cell: meterCell(loadOf, ["used"]) },
    { name: "pool", label: "Pool", title: "Upstream sockets: leased, idle, being tested or opened",
      by: (row) => row.pool?.sv_active ?? null, descends: true,
      cell: meterCell(poolOf, ["active", "idle", "between"]) },
    { name: "waiting", label: "Waiting", class: "number", descends: true,
      title: "Turns that wait for a socket, and how long the first has waited",
      by: (row) => row.pool?.cl_waiting ?? null, cell: textCell(waitingOf) },
    { name: "reason", label: "Why", cell: textCell(whyOf, whyOf) },
  ];
}

/** @param {any} account */
function stateOf({ state, enabled }) {
  const [mark, title] = STATES[/** @type {"open"} */ (state)] ?? ["idle", ""];
  if (enabled === false) {
    return { mark: "off", word: "off", title: STATES.off[1] };
  }
  return { mark, word: state ?? NOTHING, title };
}

/** @param {any} account */
function loadOf({ sessions, sessions_max: max }) {
  return { parts: max > 0 ? [{ name: "used", share: sessions / max }] : [], // no bound, no share
    text: max > 0 ? `${count(sessions)} / ${count(max)}` : count(sessions) };
}

/** @param {any} account */
function poolOf({ pool }) {
  if (!pool) return { parts: [], text: NOTHING, title: "Its sockets are not pooled." };
  const between = (pool.sv_tested ?? 0) + (pool.sv_login ?? 0);
  const slots = Math.max(pool.slots_max ?? 0, 1);
  return {
    parts: [
      { name: "active", share: pool.sv_active / slots },
      { name: "idle", share: pool.sv_idle / slots },
      { name: "between", share: between / slots },
    ],
    text: `${count(pool.sv_active)} busy · ${count(pool.sv_idle)} idle`,
    title: `${count(pool.sv_active)} leased, ${count(pool.sv_idle)} idle, ${count(between)} being`
      + ` tested or opened, of ${count(pool.slots_max)};`
      + ` ${count(pool.reused)} of ${count(pool.leases)} leases on a socket that had served before`,
  };
}

/** @param {any} account */
function waitingOf({ pool }) {
  if (!pool) return NOTHING;
  return pool.cl_waiting > 0 ? `${count(pool.cl_waiting)} · ${pool.maxwait_s.toFixed(1)} s` : "0";
}

/** @param {any} account */
function whyOf({ reason, until }) {
  const at = typeof until === "number" ? until * 1000 : Date.parse(until ?? "");
  const left = (at - Date.now()) / 1000;
  const when = left > 0 ? `again in ${duration(left)}` : "";
  return [reason, when].filter(Boolean).join(" · ");
}

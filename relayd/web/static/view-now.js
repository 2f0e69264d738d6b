/** The numbers of this moment, and the plots of the last half hour. */

import { Chart, Crosshair } from "./chart.js";
import { byId, el, setText, setTitle } from "./dom.js";
import { brief, count, latency, rate, usd } from "./format.js";
import { perTime } from "./series.js";

/** @typedef {{label: string, value: (now: any) => string, unit?: string,
 *   note?: (store: import("./store.js").Store) => string, alarm?: (now: any) => boolean}} Tile */

/** @type {Tile[]} */
const TILES = [
  { label: "Sessions", value: (now) => count(now.sessions), note: byDialect },
  { label: "Turns", unit: "/s", value: (now) => rate(now.turns_per_s), note: (store) => peak(store, "turns") },
  { label: "Tokens in", unit: "/s", value: (now) => rate(now.tokens_in_per_s),
    note: (store) => peak(store, "tokens_in") },
  { label: "Tokens out", unit: "/s", value: (now) => rate(now.tokens_out_per_s),
    note: (store) => peak(store, "tokens_out") },
  { label: "Cost", unit: "/min", value: (now) => usd(asNumber(now.cost_usd_per_min)), note: halfHourCost },
  { label: "First output p50", value: (now) => latency(now.ttft_p50_ms), note: () => "the median" },
  { label: "First output p99", value: (now) => latency(now.ttft_p99_ms), note: () => "the slowest 1 %" },
  { label: "Failed turns", unit: "/min", value: (now) => rate(now.errors_per_min), note: halfHourFailed,
    alarm: (now) => now.errors_per_min >= 1 },
];

/** @type {import("./chart.js").Plot[]} */
const PLOTS = [
  { title: "Tokens", unit: "per second", format: rate, tick: brief, least: 1, lines: [
    { label: "in", color: "--blue", shape: "area", values: (series) => perTime(series, "tokens_in", 1) },
    { label: "out", color: "--orange", shape: "line", values: (series) => perTime(series, "tokens_out", 1) },
  ] },
  { title: "Turns", unit: "per second", format: rate, tick: brief, least: 1, lines: [
    { label: "ended", color: "--blue", shape: "area", values: (series) => perTime(series, "turns", 1) },
    { label: "failed", color: "--red", shape: "dashed", values: (series) => perTime(series, "failed", 1) },
  ] },
  { title: "First output", unit: "after the request", format: latency, tick: tickLatency, least: 100, lines: [
    { label: "p50", color: "--blue", shape: "line", values: (series) => series.values.ttft_p50_ms },
    { label: "p99", color: "--orange", shape: "dashed", values: (series) => series.values.ttft_p99_ms },
  ] },
  { title: "Cost", unit: "per minute", format: usd, tick: (value) => `$${brief(value)}`, least: 0.01, lines: [
    { label: "all models", color: "--green", shape: "area", values: (series) => perTime(series, "cost_usd", 60) },
  ] },
];

/** @param {import("./store.js").Store} store @returns {() => void} Draws everything again. */
export function showNow(store) {
  const tiles = TILES.map((tile) => {
    const number = el("span");
    const value = el("span", { class: "value" }, number);
    if (tile.unit) value.append(el("small", {}, tile.unit));
    const note = el("span", { class: "note" });
    const element = el("div", { class: "tile" },
      el("span", { class: "label" }, tile.label), value, note);
    byId("now").append(element);
    return { ...tile, number, noteElement: note, element };
  });
  const crosshair = new Crosshair();
  const charts = PLOTS.map((plot) => new Chart(plot, crosshair));
  byId("charts").append(...charts.map(({ element }) => element));
  store.watch(["overview"], () => {
    for (const tile of tiles) {
      setText(tile.number, store.now ? tile.value(store.now) : "–");
      const note = store.now ? (tile.note?.(store) ?? "") : "";
      setText(tile.noteElement, note);
      setTitle(tile.noteElement, note);
      tile.element.classList.toggle("alarm", Boolean(store.now && tile.alarm?.(store.now)));
    }
    for (const chart of charts) chart.show(store.series);
  });
  return () => charts.forEach((chart) => chart.draw());
}

/** @param {unknown} value Money may come as text, so that it stays exact. */
function asNumber(value) {
  return value === null || value === undefined ? null : Number(value);
}

/** @param {number} ms */
function tickLatency(ms) {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

/** @param {import("./store.js").Store} store */
function byDialect({ now }) {
  const dialects = Object.entries(now.by_dialect ?? {}).filter(([, number]) => Number(number) > 0);
  dialects.sort(([, a], [, b]) => Number(b) - Number(a));
  return dialects.map(([name, number]) => `${name} ${count(number)}`).join(" · ");
}

/** @param {import("./store.js").Store} store @param {string} name */
function peak({ now, series }, name) {
  const most = Math.max(now[`${name}_per_s`] || 0, ...perTime(series, name, 1).map((value) => value ?? 0));
  return `peak ${rate(most)}/s`;
}

/** @param {import("./store.js").Store} store @param {string} name */
function sum({ series }, name) {
  return series.values[name].reduce((/** @type {number} */ all, value) => all + (value ?? 0), 0);
}

/** @param {import("./store.js").Store} store */
function halfHourCost(store) {
  return `${usd(sum(store, "cost_usd"))} in 30 min`;
}

/** @param {import("./store.js").Store} store */
function halfHourFailed(store) {
  return `${count(sum(store, "failed"))} in 30 min`;
}

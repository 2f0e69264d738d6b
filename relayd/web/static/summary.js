/** What an event says, in one line: what matters of it first, in the form that people read. */

import { count, duration, latency, usd } from "./format.js";

const SUMMARY_CHARS = 240;

/** Said elsewhere in the row, or saying nothing there. */
const LEFT_OUT = new Set(["session_id", "node_id", "tenant"]);

/** Members that relayd's own events have, in the order in which they matter; others follow.
 * @type {Map<string, (value: any) => string>} */
const KNOWN = new Map([
  ["state", String],
  ["reason", String],
  ["fault", (fault) => (fault === "none" ? "" : `fault ${fault}`)],
  ["error", (error) => (typeof error === "string" ? error : JSON.stringify(error))],
  ["status", String],
  ["chunk", (chunk) => JSON.stringify(chunk)],
  ["name", String],
  ["account_from", (account) => `from ${account}`],
  ["ttft_ms", (ms) => `first ${latency(ms)}`],
  ["duration_ms", latency],
  ["duration_s", duration],
  ["turns", (turns) => `${count(turns)} turns`],
  ["tokens_in", (tokens) => `${count(tokens)} in`],
  ["tokens_out", (tokens) => `${count(tokens)} out`],
  ["cost_usd", (cost) => usd(Number(cost))],
  ["model", String],
  ["account", String],
  ["key", String],
  ["dialect", String],
]);

/** Long numbers and ids that the opened row shows. */
const BEHIND = new Set(["turn_id", "call_id"]);

/** @param {any} data */
export function summaryOf(data) {
  if (data === null || data === undefined) return "";
  if (typeof data !== "object" || Array.isArray(data)) return clipped(JSON.stringify(data));
  const parts = [];
  for (const [name, shown] of KNOWN) if (isSaid(data[name])) parts.push(shown(data[name]));
  const others = Object.keys(data).filter((name) =>
    !KNOWN.has(name) && !LEFT_OUT.has(name) && isSaid(data[name]));
  others.sort((a, b) => Number(BEHIND.has(a)) - Number(BEHIND.has(b)));
  for (const name of others.slice(0, SUMMARY_CHARS)) parts.push(`${name}=${plain(data[name])}`);
  return clipped(parts.filter(Boolean).join(" · "));
}

/** @param {unknown} value */
function isSaid(value) {
  return value !== null && value !== undefined && value !== "" && value !== 0;
}

/** @param {any} value */
function plain(value) {
  return clipped(typeof value === "object" ? JSON.stringify(value) : String(value));
}

/** @param {string} text */
function clipped(text) {
  return text.length > SUMMARY_CHARS ? `${text.slice(0, SUMMARY_CHARS)}…` : text;
}

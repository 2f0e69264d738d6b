/** Numbers, money and times as people read them; each in a form of steady width. */

export const NOTHING = "–";

/** @param {unknown} value @returns {value is number} */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** Whole numbers with separators; from a million on, shortened. @param {unknown} value */
export function count(value) {
  if (!isNumber(value)) return NOTHING;
  if (Math.abs(value) >= 1e6) return short(value);
  return Math.round(value).toLocaleString("en-US");
}

/** Three digits and a letter: 12.3k. @param {unknown} value */
export function short(value) {
  if (!isNumber(value)) return NOTHING;
  for (const [size, letter] of /** @type {[number, string][]} */ ([
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ])) {
    if (Math.abs(value) >= size * 0.9995) return three(value / size) + letter;
  }
  return three(value);
}

/** @param {number} value */
function three(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995 || Number.isInteger(value)) return value.toFixed(size >= 9.995 ? 1 : 0);
  return value.toFixed(2);
}

/** A round number at an axis, without zeros that say nothing: 30k, 1.5k, 0.005.
 * @param {number} value */
export function brief(value) {
  if (Math.abs(value) < 1) return String(Number(value.toPrecision(3)));
  return short(value).replace(/\.0+(?=\D|$)|(?<=\.\d*[1-9])0+(?=\D|$)/, "");
}

/** Something per second. @param {unknown} value */
export function rate(value) {
  if (!isNumber(value)) return NOTHING;
  return value < 0.005 ? "0" : short(value);
}

/** US dollars; small sums keep what matters of them. @param {unknown} value */
export function usd(value) {
  if (!isNumber(value)) return NOTHING;
  const size = Math.abs(value);
  if (size === 0) return "$0.00";
  if (size >= 99_950) return `$${short(value)}`;
  if (size >= 0.995) {
    const digits = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
    return `$${value.toLocaleString("en-US", digits)}`;
  }
  return size >= 0.00005 ? `$${value.toFixed(4)}` : "<$0.0001";
}

/** Milliseconds as ms below ten seconds, else as s. @param {unknown} ms */
export function latency(ms) {
  if (!isNumber(ms)) return NOTHING;
  return ms < 9_999.5 ? `${Math.round(ms).toLocaleString("en-US")} ms` : `${three(ms / 1000)} s`;
}

/** How long something lasts: two parts at most. @param {unknown} seconds */
export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  const whole = Math.max(0, Math.floor(seconds));
  const [s, m, h, d] = [whole % 60, Math.floor(whole / 60) % 60, Math.floor(whole / 3600) % 24,
    Math.floor(whole / 86400)];
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  if (d) return `${d}d ${two(h)}h`;
  if (h) return `${h}h ${two(m)}m`;
  if (m) return `${m}m ${two(s)}s`;
  return `${s}s`;
}

/** The time of day, local. @param {number} ms */
export function clock(ms) {
  const at = new Date(ms);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** The time of day without seconds. @param {number} ms */
export function minute(ms) {
  return clock(ms).slice(0, 5);
}

/** `one session`, `2 sessions`. @param {number} number @param {string} noun */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

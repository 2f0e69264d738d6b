/** The last half hour in steps, as the server counts them; new steps arrive one by one. */

export const NAMES = /** @type {const} */ ([
  "turns", "tokens_in", "tokens_out", "cost_usd", "ttft_p50_ms", "ttft_p99_ms", "failed",
]);

/** Steps that a page keeps: 30 minutes of 5 s. */
export const STEPS_MAX = 360;

/**
 * @typedef {object} Series Steps of `step_s` seconds, the oldest first.
 * @property {number} step_s
 * @property {number} ends_at Unix seconds of the end of the last step.
 * @property {Record<string, (number | null)[]>} values By name; null: not measured, or not known.
 */

/** @returns {Series} */
export function emptySeries() {
  return { step_s: 5, ends_at: 0, values: Object.fromEntries(NAMES.map((name) => [name, []])) };
}

/** What `/api/v1/overview` calls `series`. @param {any} raw @returns {Series} */
export function readSeries(raw) {
  const series = emptySeries();
  if (!(raw?.step_s > 0) || !Number.isFinite(raw.ends_at)) return series;
  series.step_s = raw.step_s;
  series.ends_at = raw.ends_at;
  for (const name of NAMES) {
    const values = Array.isArray(raw[name]) ? raw[name].slice(-STEPS_MAX) : [];
    series.values[name] = values.map(numberOrNull);
  }
  return series;
}

/**
 * Put a finished step behind the others. Steps that were missed are nulls, which plots leave out.
 *
 * @param {Series} series Changed in place.
 * @param {any} step `ends_at` and a number for each name.
 * @returns {boolean} Whether it was new, and no step before it is missing.
 */
export function appendStep(series, step) {
  if (!Number.isFinite(step?.ends_at) || step.ends_at <= series.ends_at) return true;
  const steps = Math.round((step.ends_at - series.ends_at) / series.step_s);
  if (steps < 1) return true;
  const missed = Math.min(steps - 1, STEPS_MAX);
  for (const name of NAMES) {
    const values = series.values[name];
    for (let gap = 0; gap < missed; gap++) values.push(null);
    values.push(numberOrNull(step[name]));
    values.splice(0, values.length - STEPS_MAX);
  }
  series.ends_at = step.ends_at;
  return missed === 0;
}

/** The counts of a series as amounts per `seconds`. @param {Series} series
 * @param {string} name @param {number} seconds */
export function perTime(series, name, seconds) {
  const factor = seconds / series.step_s;
  return series.values[name].map((value) => (value === null ? null : value * factor));
}

/** @param {unknown} value */
function numberOrNull(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

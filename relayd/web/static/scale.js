/** Where values stand in a plot. */

/** The top of an axis and its ticks: round numbers, two to five of them above zero.
 * @param {number} max @param {number} [least] What the axis reaches at least. */
export function niceScale(max, least = 0) {
  const top = Math.max(max, least);
  if (!(top > 0) || !Number.isFinite(top)) return { top: 1, ticks: [0, 0.5, 1] };
  const rough = top / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999)
    ?? power * 10;
  const steps = Math.max(1, Math.ceil((top / step) * 0.999));
  const ticks = Array.from({ length: steps + 1 }, (_, index) => Number((index * step).toPrecision(6)));
  return { top: ticks[steps], ticks };
}

/** Full minutes between two times, `every` minutes apart by the clock.
 * @param {number} from ms @param {number} to ms @param {number} every minutes */
export function minuteTicks(from, to, every) {
  const step = every * 60_000;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return ticks;
}

/** The largest number; 0 where there is none. @param {(number | null)[][]} lists */
export function largest(lists) {
  let max = 0;
  for (const list of lists) for (const value of list) if (value !== null && value > max) max = value;
  return max;
}

/** Points without a neighbour are drawn as dots: a line of one point is not seen.
 * @param {(number | null)[]} values @returns {{start: number, end: number}[]} Runs without nulls;
 *   `end` is the index behind the last. */
export function runs(values) {
  const found = [];
  let start = -1;
  for (let index = 0; index <= values.length; index++) {
    const there = index < values.length && values[index] !== null;
    if (there && start < 0) start = index;
    if (!there && start >= 0) {
      found.push({ start, end: index });
      start = -1;
    }
  }
  return found;
}

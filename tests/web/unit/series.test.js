import assert from "node:assert/strict";
import { test } from "node:test";

import { largest, minuteTicks, niceScale, runs } from "../../../relayd/web/static/scale.js";
import { STEPS_MAX, appendStep, emptySeries, perTime, readSeries }
  from "../../../relayd/web/static/series.js";

const step = (endsAt, turns) => ({ step_s: 5, ends_at: endsAt, turns, tokens_in: 1, tokens_out: 1,
  cost_usd: 0.5, ttft_p50_ms: null, ttft_p99_ms: 9, failed: 0 });

test("a step is put behind the others", () => {
  const series = readSeries({ step_s: 5, ends_at: 100, turns: [1, 2] });

  assert.equal(appendStep(series, step(105, 3)), true);
  assert.deepEqual(series.values.turns, [1, 2, 3]);
  assert.deepEqual(perTime(series, "turns", 60), [12, 24, 36]);
  assert.equal(series.values.ttft_p50_ms.at(-1), null);
});

test("a step that is known already, or older, changes nothing", () => {
  const series = readSeries({ step_s: 5, ends_at: 100, turns: [1, 2] });
  for (const at of [100, 95, NaN, undefined]) assert.equal(appendStep(series, step(at, 3)), true);

  assert.deepEqual(series.values.turns, [1, 2]);
});

test("steps that were missed stay open, and are told", () => {
  const series = readSeries({ step_s: 5, ends_at: 100, turns: [1, 2] });

  assert.equal(appendStep(series, step(115, 3)), false);
  assert.deepEqual(series.values.turns, [1, 2, null, null, 3]);
});

test("no more than half an hour is kept, after years too", () => {
  const series = readSeries({ step_s: 5, ends_at: 100, turns: Array(500).fill(1) });
  assert.equal(series.values.turns.length, STEPS_MAX);
  appendStep(series, step(1e12, 3));

  assert.equal(series.values.turns.length, STEPS_MAX);
  assert.deepEqual(series.values.turns.slice(-2), [null, 3]);
});

for (const raw of [null, {}, { step_s: 0, ends_at: 5 }, { step_s: 5, ends_at: "x" }]) {
  test(`what is no series is an empty one: ${JSON.stringify(raw)}`, () => {
    assert.deepEqual(readSeries(raw), emptySeries());
  });
}

test("axes end at round numbers", () => {
  assert.deepEqual(niceScale(29).ticks, [0, 10, 20, 30]);
  assert.deepEqual(niceScale(0.07).ticks, [0, 0.025, 0.05, 0.075]);
  assert.deepEqual(niceScale(0, 100).ticks, [0, 50, 100]);
  for (const max of [0, -1, NaN, Infinity]) assert.deepEqual(niceScale(max).ticks, [0, 0.5, 1]);
  for (let max = 0.001; max < 1e9; max *= 1.37) {
    const { top, ticks } = niceScale(max);
    assert.ok(top >= max * 0.998 && ticks.length >= 3 && ticks.length <= 5, `${max}: ${ticks}`);
  }
});

test("ticks of time stand at full minutes", () => {
  assert.deepEqual(minuteTicks(60_001, 700_000, 5), [300_000, 600_000]);
});

test("a line is broken where nothing was measured", () => {
  assert.deepEqual(runs([null, 1, 2, null, 3]), [{ start: 1, end: 3 }, { start: 4, end: 5 }]);
  assert.deepEqual(runs([]), []);
  assert.equal(largest([[null, 1], [4], []]), 4);
});

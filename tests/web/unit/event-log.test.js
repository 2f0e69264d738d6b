import assert from "node:assert/strict";
import { test } from "node:test";

import { EVENTS_MAX, EventLog, kindOf } from "../../../relayd/web/static/event-log.js";
import { summaryOf } from "../../../relayd/web/static/summary.js";
import { envelope } from "./stage.js";

const seqs = (log, filter = "") => log.latest(filter, 10).map((entry) => entry.envelope.seq);

test("the newest comes first, and stats are drawn elsewhere", () => {
  const log = new EventLog();
  for (const seq of [1, 2, 3]) log.add(envelope(seq), 0);
  log.add(envelope(4, { event: "stats" }), 0);

  assert.deepEqual(seqs(log), [3, 2, 1]);
});

test("an event that only bears a name of relayd's is listed as any other", () => {
  const log = new EventLog();
  log.add(envelope(1, { event: "stats", topic: "workflow:x" }), 0);

  assert.deepEqual(seqs(log), [1]);
  const failed = { event: "account.failed", data: {} };
  assert.equal(kindOf(envelope(2, failed)), "bad");
  assert.equal(kindOf(envelope(2, { ...failed, topic: "workflow:x" })), "plain");
});

test("whose it is the envelope says, and in ops alone the data", () => {
  const log = new EventLog();
  const data = { tenant: "acme" };
  log.add(envelope(1, { data }), 0);
  log.add(envelope(2, { tenant: "globex", topic: "tenant:globex", data }), 0);
  log.add(envelope(3, { tenant: "globex", topic: "workflow:x", data }), 0);

  assert.deepEqual(seqs(log, "tenant:acme"), [1]);
  assert.deepEqual(seqs(log, "tenant:globex"), [3, 2]);
});

test("what comes while it is held still is counted and shown later", () => {
  const log = new EventLog();
  log.add(envelope(1), 0);
  log.pause();
  log.pause();
  log.add(envelope(2), 0);

  assert.deepEqual([seqs(log), log.waiting, log.paused], [[1], 1, true]);
  log.resume();
  assert.deepEqual([seqs(log), log.waiting, log.paused], [[2, 1], 0, false]);
});

test("it is bounded", () => {
  const log = new EventLog();
  for (let seq = 0; seq < EVENTS_MAX + 5; seq++) log.add(envelope(seq), 0);

  assert.equal(log.latest("", Infinity).length, EVENTS_MAX);
});

test("filters look at names, sessions, topics and data", () => {
  const log = new EventLog();
  log.add(envelope(1, { event: "turn.ended", data: { reason: "completed", model: "gpt-5" } }), 0);
  log.add(envelope(2, { event: "node_resumed", session_id: null, node_id: "n1",
    topic: "workflow:w" }), 0);

  assert.deepEqual(seqs(log, "event:turn"), [1]);
  assert.deepEqual(seqs(log, "model:gpt-5"), [1]);
  assert.deepEqual(seqs(log, "topic:workflow"), [2]);
  assert.deepEqual(seqs(log, "node:n1"), [2]);
  assert.deepEqual(seqs(log, "-turn"), [2]);
});

test("events a second are those of the last five seconds", () => {
  const log = new EventLog();
  for (let ms = 0; ms < 5_000; ms += 100) log.add(envelope(ms), ms);

  assert.equal(log.perSecond(4_999), 10);
  assert.equal(log.perSecond(60_000), 0);
});

test("a line says first what matters", () => {
  const data = { dialect: "realtime", key: "dev", account: null, turn_id: "resp_1",
    reason: "completed", ttft_ms: 312.4, tokens_in: 900, cost_usd: 0.0041, colour: "blue" };

  assert.equal(summaryOf(data),
    "completed · first 312 ms · 900 in · $0.0041 · dev · realtime · colour=blue · turn_id=resp_1");
});

for (const data of [null, undefined, 3, "text", [1, { a: 2 }], { a: { b: [1] } },
  { chunk: "x".repeat(10_000) }, { error: { message: "no" } }, { turns: "many" }]) {
  test(`any data has a short line: ${JSON.stringify(data)?.slice(0, 30)}`, () => {
    assert.ok(summaryOf(data).length <= 241);
  });
}

test("news are told apart", () => {
  const kind = (event, data = {}) => kindOf(envelope(1, { event, data }));

  assert.equal(kind("account.failed"), "bad");
  assert.equal(kind("session.ended", { fault: "upstream" }), "bad");
  assert.equal(kind("session.ended", { fault: "client" }), "plain");
  assert.equal(kind("turn.ended", { reason: "upstream_lost" }), "warn");
  assert.equal(kind("turn.refused"), "warn");
  assert.equal(kind("human_interaction_required"), "warn");
  assert.equal(kind("account.changed", { state: "closed" }), "good");
  assert.equal(kind("token_stream"), "work");
  assert.equal(kind("of_somebody_else", null), "plain");
});

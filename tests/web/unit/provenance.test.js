import assert from "node:assert/strict";
import { test } from "node:test";

import { isBorrowed, isOwn } from "../../../relayd/web/static/provenance.js";
import { Store } from "../../../relayd/web/static/store.js";
import { envelope } from "./stage.js";

const OWN = ["ops", "tenant:acme", "session:sess_1"];
const PUBLIC = ["workflow:x", "workflow:ops", "session:x", "session:x:session:sess_1", "sess_1",
  "opsx", "xops", "workflow:\nops", "", null, undefined, 3, ["ops"]];
const NAMES = ["session.opened", "session.ended", "turn.ended", "account.changed", "usage.charged",
  "stats", "resync_required"];

function storeOf(identity) {
  const store = new Store((run) => run(), () => 1_000_000);
  store.identity = identity;
  return store;
}

test("what nobody else can publish to is relayd's own", () => {
  for (const topic of OWN) assert.equal(isOwn({ topic }), true, topic);
  for (const topic of PUBLIC) assert.equal(isOwn({ topic }), false, String(topic));
});

test("a name of relayd's on a public topic is borrowed; other names are anybody's", () => {
  for (const event of NAMES) {
    assert.equal(isBorrowed({ event, topic: "workflow:x" }), true, event);
    assert.equal(isBorrowed({ event, topic: "ops" }), false, event);
  }
  for (const event of ["token_stream", "sessions", "statsd", "error", "turnip.ended"]) {
    assert.equal(isBorrowed({ event, topic: "workflow:x" }), false, event);
  }
});

for (const topic of PUBLIC) {
  test(`nothing that is published to ${JSON.stringify(topic)} is believed of sessions`, () => {
    const store = storeOf({ role: "operator", tenant: "ops", name: "o" });
    store.setSessions([{ session_id: "sess_1", tenant: "acme", state: "idle", turns: 2 }], true, 0);
    const before = structuredClone(store.sessions.all());
    for (const event of ["session.connected", "session.failed_over", "turn.started", "turn.ended",
      "session.ended"]) {
      store.session(envelope(1, { event, topic, tenant: "globex", data: { account: "theirs" } }));
    }
    store.session(envelope(1, { event: "session.opened", session_id: "sess_2", topic }));

    assert.deepEqual(store.sessions.all(), before);
  });
}

for (const [role, own] of [["operator", "ops"], ["user", "tenant:acme"], ["publisher", "tenant:acme"]]) {
  test(`figures for a key of the role ${role} come from ${own} alone`, () => {
    const store = storeOf({ role, tenant: "acme", name: "a" });
    const stats = (topic, sessions) =>
      store.stats(envelope(1, { event: "stats", topic, data: { now: { sessions } } }));
    stats(own, 3);
    for (const topic of [...OWN, "tenant:globex", ...PUBLIC]) if (topic !== own) stats(topic, 9);

    assert.equal(store.now.sessions, 3);
    assert.deepEqual(store.load, [3]);
  });
}

test("figures for nobody are not taken, and a step that is missing is told", () => {
  const store = storeOf(null);
  const step = (ends_at) => envelope(1, { event: "stats", data: { now: {}, step: { ends_at } } });
  assert.equal(store.stats(step(5)), true);
  assert.equal(store.now, null);
  store.identity = { role: "operator", tenant: "ops", name: "o" };

  assert.equal(store.stats(step(5)), true);
  assert.equal(store.stats(step(20)), false);
});

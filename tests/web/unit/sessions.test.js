import assert from "node:assert/strict";
import { test } from "node:test";

import { ENDED_MAX, ENDED_SHOWN_MS, SESSIONS_MAX, Sessions, matcher, sessionText, sortBy }
  from "../../../relayd/web/static/sessions.js";
import { Store } from "../../../relayd/web/static/store.js";
import { envelope } from "./stage.js";

const row = (id, more = {}) => ({ session_id: id, dialect: "realtime", key: "dev", tenant: "dev",
  account: "main", model: "gpt-realtime", state: "idle", duration_s: 10, turns: 0,
  messages_up: 1, messages_down: 2, client_address: null, ...more });
const ids = (sessions) => sessions.all().map(({ session_id: id }) => id);

function storeAt() {
  const world = { now: 1_000_000 };
  world.store = new Store((run) => run(), () => world.now);
  world.tell = (event, data = {}, more = {}) =>
    world.store.session(envelope(1, { event, data, tenant: "t", ...more }));
  return world;
}

test("a session is shown from the event that it was opened", () => {
  const { store, tell } = storeAt();
  tell("session.opened", { key: "dev", model: "gpt-realtime", account: null });

  const session = store.sessions.get("sess_1");
  assert.deepEqual([session.key, session.tenant, session.state], ["dev", "t", "idle"]);
});

test("a turn makes it busy, its end idle and one turn older", () => {
  const { store, tell } = storeAt();
  tell("session.opened");
  tell("turn.started", { account: "spare" });
  const session = store.sessions.get("sess_1");
  assert.deepEqual([session.state, session.account], ["busy", "spare"]);
  tell("turn.ended", { reason: "completed" });

  assert.deepEqual([session.state, session.turns], ["idle", 1]);
});

test("turns of what is no session make none", () => {
  const { store, tell } = storeAt();
  for (const event of ["turn.started", "turn.first_output", "turn.ended", "usage.charged"]) {
    tell(event, {}, { session_id: "req_1" });
  }

  assert.equal(store.sessions.size, 0);
});

test("what an event says of whose session it is, and in which state, is not believed", () => {
  const { store, tell } = storeAt();
  const lies = { session_id: "sess_2", tenant: "another", state: "killed", client_address: "::1",
    turns: 7, messages_up: 7 };
  for (const event of ["session.opened", "session.connected", "session.failed_over",
    "turn.started"]) {
    tell(event, lies, { topic: "session:sess_1" });
  }

  assert.deepEqual(ids(store.sessions), ["sess_1"]);
  const { tenant, state, client_address: address, turns, messages_up: up } =
    store.sessions.get("sess_1");
  assert.deepEqual([tenant, state, address, turns, up], ["t", "busy", "", 0, null]);
});

test("a tenant that the topic does not say leaves the one that is known", () => {
  const { store, tell } = storeAt();
  store.setSessions([row("sess_1")], true, 0);
  tell("session.opened", {}, { topic: "ops", tenant: "" });

  assert.equal(store.sessions.get("sess_1").tenant, "dev");
});

test("messages are not known before an answer says them", () => {
  const { store, tell } = storeAt();
  tell("session.opened");
  const session = store.sessions.get("sess_1");
  assert.deepEqual([session.messages_up, session.messages_down], [null, null]);
  store.setSessions([row("sess_1")], true, 0);

  assert.deepEqual([session.messages_up, session.messages_down, session.traffic], [1, 2, []]);
});

test("with its end it is said what a session came to, be it ever so short", () => {
  const { store, tell } = storeAt();
  tell("session.opened");
  tell("session.ended", { reason: "client_closed", turns: 3, messages_up: 4, messages_down: 90 });

  const { turns, messages_up: up, messages_down: down } = store.sessions.get("sess_1");
  assert.deepEqual([turns, up, down], [3, 4, 90]);
});

test("an ended session stays in sight for a moment, with its reason", () => {
  const world = storeAt();
  world.tell("session.opened");
  world.tell("session.ended", { reason: "killed" });
  assert.equal(world.store.sessions.get("sess_1").state, "killed");
  world.now += ENDED_SHOWN_MS - 1;
  world.store.tick();
  assert.equal(world.store.sessions.size, 1);
  world.now += 1;
  world.store.tick();

  assert.equal(world.store.sessions.size, 0);
});

test("an answer that is older than an event does not undo it", () => {
  const sessions = new Sessions();
  sessions.replace([row("a"), row("b")], true, 0, 0);
  sessions.end("a", { reason: "killed" }, 60);
  sessions.open("c", "t", {}, 60);
  sessions.replace([row("a"), row("b")], true, 50, 70); // asked for at 50, and here at 70

  assert.deepEqual(ids(sessions), ["a", "b", "c"]);
  assert.equal(sessions.get("a").state, "killed");
  sessions.sweep(60 + ENDED_SHOWN_MS);
  sessions.replace([row("a"), row("b")], true, 65, 80);
  assert.deepEqual(ids(sessions), ["b"]); // c was not named by an answer that would know it
});

test("an answer that names not all takes none away", () => {
  const sessions = new Sessions();
  sessions.replace([row("a"), row("b")], true, 0, 0);
  sessions.replace([row("b")], false, 10, 10);

  assert.deepEqual(ids(sessions), ["a", "b"]);
});

test("after events were missed, what an answer does not name is gone", () => {
  const { store } = storeAt();
  store.setSessions([row("a"), row("b")], true, 0);
  store.missed();
  store.setSessions([row("b")], false, 10);
  assert.deepEqual(ids(store.sessions), ["b"]);
  store.setSessions([], false, 20);

  assert.deepEqual(ids(store.sessions), ["b"]);
});

test("the list is bounded, and says what it leaves out", () => {
  const { store, tell } = storeAt();
  store.setSessions([row("first")], true, 0);
  for (let each = 0; each < SESSIONS_MAX + 5; each++) {
    tell("session.opened", {}, { session_id: `sess_${each}` });
  }
  assert.equal(store.sessions.size, SESSIONS_MAX);
  store.now = { sessions: SESSIONS_MAX + 6 };
  store.setSessions([row("first"), row("last")], false, 0);

  assert.equal(store.sessions.get("last"), undefined);
  assert.equal(store.unlisted, 6);
});

test("so is the memory of what has ended: the longest ago is forgotten", () => {
  const sessions = new Sessions();
  for (let each = 0; each <= ENDED_MAX; each++) sessions.end(`sess_${each}`, {}, 0);
  sessions.replace([row("sess_0"), row("sess_1")], true, 0, 0);

  assert.deepEqual(ids(sessions), ["sess_0"]);
});

test("traffic is what came between two answers", () => {
  const sessions = new Sessions();
  sessions.replace([row("a")], true, 0, 0);
  sessions.replace([row("a", { messages_up: 4, messages_down: 9 })], true, 1, 1);

  assert.deepEqual(sessions.get("a").traffic, [10]);
});

test("what is of another type than it should be is not taken over", () => {
  const sessions = new Sessions();
  sessions.replace([null, 3, {}, row("a", { key: { toString: 1 }, turns: "7" })], true, 0, 0);

  assert.deepEqual([sessions.get("a").key, sessions.get("a").turns], ["", 0]);
});

test("filters ask for all of their words", () => {
  const session = { ...row("sess_1"), key: "support-voice", client_address: "" };
  const matches = (text) => matcher(text, sessionText)(session);

  for (const text of ["", "VOICE", "voice realtime", "key:support", "-busy", "id:sess_1 -key:dev"]) {
    assert.equal(matches(text), true, text);
  }
  for (const text of ["voice busy", "model:support", "-idle", "key:dev", "nonsense:voice"]) {
    assert.equal(matches(text), false, text);
  }
});

test("what is not known stands at the end, whichever way it is sorted", () => {
  const sorted = (descending) => sortBy([{ n: 2 }, { n: null }, { n: 1 }], ({ n }) => n, descending,
    ({ n }) => String(n)).map(({ n }) => n);

  assert.deepEqual(sorted(false), [1, 2, null]);
  assert.deepEqual(sorted(true), [2, 1, null]);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { BACKOFF_FIRST_MS, BACKOFF_MAX_MS, HEARTBEAT_MS, OPEN_MS, PONG_MS, STABLE_MS, TERMINAL }
  from "../../../relayd/web/static/connection.js";
import { EPOCH, Stage, envelope, resync } from "./stage.js";

test("a connection is live with the welcome, and the state is loaded once", () => {
  const stage = new Stage();
  stage.connection.connect();
  assert.equal(stage.state.phase, "connecting");
  assert.deepEqual(stage.socket.protocols, ["relayd.hub", "openai-insecure-api-key.k"]);
  stage.welcome({ seq: 41 });

  assert.equal(stage.state.phase, "live");
  assert.equal(stage.resets, 1);
  assert.equal(stage.connection.cursor, `${EPOCH}@41`);
});

test("there is one socket, however often it is asked for", () => {
  const stage = new Stage();
  stage.connection.connect();
  stage.connection.connect();
  stage.welcome();
  stage.connection.connect();

  assert.equal(stage.sockets.length, 1);
});

test("what was missed is asked for by the position of the last event", () => {
  const stage = Stage.live();
  stage.say(envelope(7));
  stage.drop();
  stage.pass(BACKOFF_FIRST_MS);

  assert.equal(stage.socket.url, `ws://relay/api/v1/ws?since=${EPOCH}@7`);
  stage.welcome({ seq: 9, recovered: true });
  assert.equal(stage.connection.cursor, `${EPOCH}@7`); // the replay is still to come
  stage.say(envelope(8));
  assert.equal(stage.connection.cursor, `${EPOCH}@8`);
  assert.equal(stage.resets, 1);
  assert.deepEqual(stage.events.map(({ seq }) => seq), [7, 8]);
});

test("what cannot be had again loads the state anew, once", () => {
  const stage = Stage.live();
  stage.say(envelope(7));
  stage.drop();
  stage.pass(BACKOFF_FIRST_MS);
  stage.welcome({ epoch: "00000000000000bb", seq: 2, recovered: false });
  stage.say(resync(2, "00000000000000bb"));

  assert.equal(stage.resets, 2);
  assert.equal(stage.connection.cursor, "00000000000000bb@2");
  assert.equal(stage.events.length, 1); // the page does not see the order to load
});

test("an order to load anew in the midst of a connection is followed", () => {
  const stage = Stage.live();
  stage.say(envelope(7));
  stage.say(resync(8));

  assert.equal(stage.resets, 2);
  assert.equal(stage.connection.cursor, `${EPOCH}@8`);
});

for (const topic of ["workflow:x", "session:x", "ops", ""]) {
  test(`an order to load anew that was published is an event like others: ${topic}`, () => {
    const stage = Stage.live();
    stage.say(envelope(7, { topic, event: "resync_required" }));

    assert.equal(stage.resets, 1);
    assert.deepEqual(stage.events.map(({ event }) => event), ["resync_required"]);
  });
}

test("waits grow to their maximum, with chance taking up to half of each", () => {
  for (const [random, share] of [[0, 0.5], [1, 1]]) {
    const stage = new Stage();
    stage.random = random;
    stage.connection.connect();
    const waits = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      stage.drop();
      waits.push(stage.state.retryAt - stage.now);
      stage.pass(waits.at(-1));
    }

    const expected = [1, 2, 4, 8, 16, 32, 64, 64, 64].map((factor) =>
      Math.min(BACKOFF_FIRST_MS * factor, BACKOFF_MAX_MS) * share);
    assert.deepEqual(waits, expected);
    assert.equal(stage.sockets.length, 10); // it has not given up
  }
});

test("a connection that lasted is followed by the first wait", () => {
  const stage = new Stage();
  stage.connection.connect();
  for (let attempt = 0; attempt < 4; attempt++) {
    stage.drop();
    stage.retry();
  }
  stage.welcome();
  stage.pass(STABLE_MS);
  stage.drop();

  assert.equal(stage.state.attempt, 1);
  assert.equal(stage.state.retryAt - stage.now, BACKOFF_FIRST_MS);
});

test("one that is lost as soon as it is there is not", () => {
  const stage = Stage.live();
  stage.drop();
  stage.retry();
  stage.welcome();
  stage.drop();

  assert.equal(stage.state.attempt, 2);
});

test("a heartbeat is sent every 30 s, and its answer keeps the connection", () => {
  const stage = Stage.live();
  for (let beat = 1; beat <= 3; beat++) {
    stage.pass(HEARTBEAT_MS - 1);
    assert.equal(stage.socket.sent.length, beat - 1);
    stage.pass(1);
    assert.deepEqual(stage.socket.sent.at(-1), { type: "ping" });
    stage.say({ type: "pong", ts: "…" });
  }
  assert.equal(stage.state.phase, "live");
});

test("a server that answers no heartbeat is left", () => {
  const stage = Stage.live();
  stage.pass(HEARTBEAT_MS + PONG_MS);

  assert.equal(stage.sockets[0].closedWith, 1000);
  assert.equal(stage.state.phase, "waiting");
  assert.equal(stage.state.lastError.message, "The server fell silent.");
});

test("a server that never says welcome is left", () => {
  const stage = new Stage();
  stage.connection.connect();
  stage.pass(OPEN_MS);

  assert.equal(stage.state.phase, "waiting");
});

for (const code of TERMINAL.keys()) {
  test(`after ${code} it stops, says so, and connects when it is told to`, () => {
    const stage = Stage.live();
    stage.drop(code);

    assert.equal(stage.state.phase, "stopped");
    assert.equal(stage.state.lastError.code, code);
    assert.equal(stage.timers, 0);
    stage.connection.wake();
    assert.equal(stage.sockets.length, 1);
    stage.connection.connect();
    assert.equal(stage.sockets.length, 2);
  });
}

for (const code of [1000, 1001, 1006, 1011, 1012, 4001, 4005, 4008, 4009, 4010, 4999]) {
  test(`after ${code} it connects again, and keeps the error in sight`, () => {
    const stage = Stage.live();
    stage.drop(code);
    stage.pass(BACKOFF_FIRST_MS);
    stage.welcome({ recovered: true });

    assert.equal(stage.state.phase, "live");
    assert.equal(stage.state.lastError.code, code);
    assert.notEqual(stage.state.lastError.message, "");
  });
}

test("a page that is seen again, or online, does not sit out a wait", () => {
  const stage = Stage.live();
  stage.drop();
  stage.connection.wake();

  assert.equal(stage.sockets.length, 2);
  assert.equal(stage.timers, 1);
});

test("a live connection is tried when the page wakes", () => {
  const stage = Stage.live();
  stage.pass(1_000);
  stage.connection.wake();

  assert.deepEqual(stage.socket.sent, [{ type: "ping" }]);
  stage.pass(PONG_MS);
  assert.equal(stage.state.phase, "waiting");
});

test("a socket of before is not heard any more", () => {
  const stage = Stage.live();
  const { onclose, onmessage } = stage.socket;
  stage.connection.renew();
  onmessage({ data: JSON.stringify(envelope(99)) });
  onclose({ code: 4500, reason: "" });

  assert.equal(stage.state.phase, "connecting");
  assert.deepEqual(stage.events, []);
});

test("offline is what it says where the computer is", () => {
  const stage = Stage.live();
  stage.online = false;
  stage.drop();

  assert.equal(stage.state.lastError.message, "This computer is offline.");
});

test("why an upgrade failed is asked over HTTP", async () => {
  const stage = new Stage();
  stage.diagnosis = { fatal: true, message: "The key is not valid here." };
  stage.connection.connect();
  stage.drop();
  await Promise.resolve();

  assert.equal(stage.state.phase, "stopped");
  assert.equal(stage.state.lastError.message, "The key is not valid here.");
});

test("a server that answers over HTTP but opens no socket is tried again", async () => {
  const stage = new Stage();
  stage.connection.connect();
  stage.drop();
  await Promise.resolve();

  assert.equal(stage.state.phase, "waiting");
  assert.match(stage.state.lastError.message, /did not open/);
});

test("a key that no WebSocket can carry is said", () => {
  const stage = new Stage();
  stage.refusesToConstruct = true;
  stage.connection.connect();

  assert.equal(stage.state.phase, "stopped");
  assert.match(stage.state.lastError.message, /cannot send/);
});

for (const nonsense of ["", "{", "null", "3", '"text"']) {
  test(`what is no message ends the connection: ${JSON.stringify(nonsense)}`, () => {
    const stage = Stage.live();
    stage.say(nonsense);

    assert.equal(stage.state.phase, "waiting");
  });
}

test("an error is shown and changes nothing else", () => {
  const stage = Stage.live();
  stage.say({ type: "error", error: { type: "x", code: "y", message: "No such topic." }, id: null });

  assert.equal(stage.state.phase, "live");
  assert.equal(stage.state.lastError.message, "No such topic.");
});

test("closing leaves nothing behind", () => {
  const stage = Stage.live();
  stage.say(envelope(7));
  stage.connection.close();

  assert.equal(stage.state.phase, "idle");
  assert.equal(stage.connection.cursor, null);
  assert.equal(stage.timers, 0);
  assert.equal(stage.sockets[0].closedWith, 1000);
});

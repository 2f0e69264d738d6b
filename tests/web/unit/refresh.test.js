import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../../relayd/web/static/api.js";
import { Refresher } from "../../../relayd/web/static/refresh.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A refresher, and what it asked and told. */
function stage({ operator = true } = {}) {
  const world = { now: 1_000_000, asked: [], taken: [], problems: [], refused: [], fails: {} };
  const ask = (what, answer) => async () => {
    world.asked.push(what);
    if (world.fails[what]) throw world.fails[what];
    return answer;
  };
  const api = { overview: ask("overview", {}), sessions: ask("sessions", { rows: [], complete: true }),
    accounts: ask("accounts", { rows: [] }) };
  const store = { identity: { role: "x" }, isOperator: operator,
    setOverview: () => world.taken.push("overview"),
    setSessions: () => world.taken.push("sessions"),
    setAccounts: () => world.taken.push("accounts") };
  world.store = store;
  world.refresher = new Refresher(api, store, {
    onProblem: (problem) => world.problems.push(problem),
    onRefused: (message) => world.refused.push(message),
  }, () => world.now);
  world.pass = async (ms) => {
    world.now += ms;
    world.asked.length = 0;
    world.refresher.tick(world.now);
    await settled();
    return [...world.asked];
  };
  return world;
}

test("each part is asked for at its own pace", async () => {
  const world = stage();

  assert.deepEqual(await world.pass(0), ["overview", "sessions", "accounts"]);
  assert.deepEqual(await world.pass(4_999), []);
  assert.deepEqual(await world.pass(1), ["sessions"]);
  assert.deepEqual(await world.pass(5_000), ["sessions", "accounts"]);
  assert.deepEqual(await world.pass(5_000), ["overview", "sessions"]);
});

test("accounts are asked for by operators, and nothing by nobody", async () => {
  const world = stage({ operator: false });
  assert.deepEqual(await world.pass(0), ["overview", "sessions"]);
  world.store.identity = null;

  assert.deepEqual(await world.pass(60_000), []);
});

test("what is wanted soon is asked for with the next tick", async () => {
  const world = stage();
  await world.pass(0);
  world.refresher.soon("accounts");

  assert.deepEqual(await world.pass(1), ["accounts"]);
});

test("an answer from before a reset is not believed", async () => {
  const world = stage();
  world.refresher.tick(world.now);
  world.refresher.reset();
  await settled();

  assert.deepEqual(world.taken, []);
  assert.deepEqual(await world.pass(0), ["overview", "sessions", "accounts"]);
  assert.equal(world.taken.length, 3);
});

test("a problem is told until that very part is answered", async () => {
  const world = stage();
  world.fails.sessions = new ApiError("The server is not reachable.", 0);
  await world.pass(0);
  assert.equal(world.problems.at(-1), "The server is not reachable.");
  world.fails = {};
  assert.deepEqual(await world.pass(9_999), []);
  assert.deepEqual(await world.pass(1), ["sessions", "accounts"]);

  assert.equal(world.problems.at(-1), null);
});

test("a key that is valid no more is told, and a refusal of one part is a problem", async () => {
  const world = stage();
  world.fails.overview = new ApiError("narrowed", 403);
  world.fails.sessions = new ApiError("not valid", 401);
  await world.pass(0);

  assert.deepEqual(world.refused, ["not valid"]);
  assert.ok(world.problems.includes("narrowed"));
});

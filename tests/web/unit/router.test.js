import assert from "node:assert/strict";
import { test } from "node:test";

import { Router } from "../../../relayd/web/static/router.js";
import { envelope } from "./stage.js";

test("an event goes to its own handlers first, then to those of a prefix", () => {
  const heard = [];
  const router = new Router(assert.fail)
    .on("*", () => heard.push("all"))
    .on("turn.*", () => heard.push("turns"))
    .on("session.*", () => heard.push("sessions"))
    .on("turn.ended", () => heard.push("ended"))
    .on("turn.ended", () => heard.push("ended too"));

  assert.equal(router.dispatch(envelope(1, { event: "turn.ended" })), 4);
  assert.deepEqual(heard, ["ended", "ended too", "all", "turns"]);
});

test("a handler that fails keeps no other from hearing", () => {
  const crashes = [];
  const heard = [];
  const router = new Router((error, { event }) => crashes.push([error.message, event]))
    .on("stats", () => {
      throw new Error("broken");
    })
    .on("*", () => heard.push("all"));
  router.dispatch(envelope(1, { event: "stats" }));

  assert.deepEqual(crashes, [["broken", "stats"]]);
  assert.deepEqual(heard, ["all"]);
});

test("names that every object has are names like others", () => {
  const router = new Router(assert.fail);

  assert.equal(router.dispatch(envelope(1, { event: "constructor" })), 0);
});

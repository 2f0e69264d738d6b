import assert from "node:assert/strict";
import { test } from "node:test";

import { Api } from "../../../relayd/web/static/api.js";
import { cleaned, subprotocols } from "../../../relayd/web/static/credentials.js";
import { NOTHING, brief, count, duration, latency, plural, rate, short, usd }
  from "../../../relayd/web/static/format.js";

const TABLE = [
  [count, [[0, "0"], [1234.4, "1,234"], [2_500_000, "2.50M"], [null, NOTHING], [NaN, NOTHING]]],
  [short, [[7, "7"], [0.123, "0.12"], [12.34, "12.3"], [999.7, "1.00k"], [1_500, "1.50k"],
    [999_600, "1.00M"], [2e12, "2T"]]],
  [brief, [[30_000, "30k"], [10, "10"], [2_500, "2.5k"], [1_250, "1.25k"], [0, "0"],
    [0.005, "0.005"], [0.0025, "0.0025"], [100, "100"], [7.5, "7.5"], [1_200_000, "1.2M"]]],
  [rate, [[0.001, "0"], [0.4, "0.40"], [16.24, "16.2"]]],
  [usd, [[0, "$0.00"], [0.00412, "$0.0041"], [0.00001, "<$0.0001"], [1.5, "$1.50"],
    [7230.26, "$7,230.26"], [250_000, "$250k"], [undefined, NOTHING]]],
  [latency, [[312.4, "312 ms"], [9_999, "9,999 ms"], [12_000, "12.0 s"], [null, NOTHING]]],
  [duration, [[0, "0s"], [59.9, "59s"], [61, "1m 01s"], [3_660, "1h 01m"], [90_000, "1d 01h"]]],
];

for (const [format, cases] of TABLE) {
  for (const [value, text] of cases) {
    test(`${format.name} of ${value} is ${text}`, () => assert.equal(format(value), text));
  }
}

test("one is one", () => {
  assert.deepEqual([plural(1, "turn"), plural(2, "turn")], ["1 turn", "2 turns"]);
});

test("a pasted key loses what clings to it", () => {
  for (const pasted of ["sk-1", " sk-1\n", "Bearer sk-1", '"sk-1"', "bearer 'sk-1'"]) {
    assert.equal(cleaned(pasted), "sk-1");
  }
});

test("keys and tokens are offered in their own ways", () => {
  assert.deepEqual(subprotocols("sk-1"), ["relayd.hub", "openai-insecure-api-key.sk-1"]);
  assert.deepEqual(subprotocols("eyJh.eyJz.c2ln"), ["relayd.hub", "bearer.eyJh.eyJz.c2ln"]);
});

test("the hub's address is the page's own, and holds no key", () => {
  const address = (page, ...rest) => new Api(() => "sk-1", page).hubAddress(...rest);

  assert.equal(address("https://relay.example/dashboard?x=1#y", null, false, true),
    "wss://relay.example/api/v1/ws");
  assert.equal(address("http://relay:8790/dashboard", null, false, false),
    "ws://relay:8790/api/v1/ws?except=token_stream");
  const asked = new URL(address("http://relay/under/dashboard", "ab@7", true, true));
  assert.equal(asked.pathname, "/under/api/v1/ws");
  assert.equal(asked.searchParams.get("since"), "ab@7");
  assert.equal(asked.searchParams.get("topics"), "session:*,workflow:*,ops");
});

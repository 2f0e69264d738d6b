/** Time, sockets and events that a test is in charge of. */

import { Connection } from "../../../relayd/web/static/connection.js";

export const EPOCH = "00000000000000aa";

/** @param {number} seq @param {object} [more] */
export function envelope(seq, more = {}) {
  return { id: `${EPOCH}:${seq}`, seq, ts: "2026-01-01T00:00:00.000Z", topic: "ops", tenant: "",
    event: "turn.started", session_id: "sess_1", node_id: null, data: {}, ...more };
}

/** What the hub itself tells a client that missed something. @param {number} seq
 * @param {string} [epoch] */
export function resync(seq, epoch = EPOCH) {
  return envelope(seq, { id: `${epoch}@${seq}`, topic: null, tenant: "dev", session_id: null,
    event: "resync_required", data: { topics: ["*"] } });
}

class FakeSocket {
  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    Object.assign(this, { url, protocols, sent: [], closedWith: null });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closedWith = code;
  }
}

/** A connection in a world of its own. */
export class Stage {
  now = 1_000_000;
  random = 1;
  online = true;
  diagnosis = null;
  sockets = [];
  events = [];
  resets = 0;
  states = [];
  #timers = [];

  constructor() {
    const stage = this;
    this.connection = new Connection({
      url: (since) => `ws://relay/api/v1/ws${since ? `?since=${since}` : ""}`,
      protocols: () => ["relayd.hub", "openai-insecure-api-key.k"],
      onEvent: (event) => this.events.push(event),
      onReset: () => this.resets++,
      onState: (state) => this.states.push(state),
      diagnose: async () => this.diagnosis,
      environment: {
        WebSocket: class extends FakeSocket {
          constructor(url, protocols) {
            super(url, protocols);
            if (stage.refusesToConstruct) throw new SyntaxError("a character");
            stage.sockets.push(this);
          }
        },
        setTimeout: (run, ms) => {
          const timer = { run, at: this.now + ms };
          this.#timers.push(timer);
          return timer;
        },
        clearTimeout: (timer) => {
          this.#timers = this.#timers.filter((each) => each !== timer);
        },
        now: () => this.now,
        random: () => this.random,
        isOnline: () => this.online,
      },
    });
  }

  get state() {
    return this.connection.state;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get timers() {
    return this.#timers.length;
  }

  /** Let time pass, and what is due happen. @param {number} ms */
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((each) => each !== due);
      this.now = due.at;
      due.run();
    }
    this.now = end;
  }

  /** @param {object | string} message */
  say(message) {
    const data = typeof message === "string" ? message : JSON.stringify(message);
    this.socket.onmessage({ data });
  }

  /** @param {object} [more] */
  welcome(more = {}) {
    this.say({ type: "welcome", client: "c", epoch: EPOCH, seq: 0, topics: ["*"], recovered: null,
      ...more });
  }

  /** @param {number} code */
  drop(code = 1006) {
    this.socket.onclose({ code, reason: "" });
  }

  /** Wait until it tries again. */
  retry() {
    this.pass(this.state.retryAt - this.now);
  }

  /** Connected and welcomed. */
  static live() {
    const stage = new Stage();
    stage.connection.connect();
    stage.welcome();
    return stage;
  }
}

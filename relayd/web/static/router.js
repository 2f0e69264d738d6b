/** Hands each event to those who asked for its type. */

/**
 * @typedef {object} Envelope An event as the hub sends it.
 * @property {string} id `epoch:offset`
 * @property {number} seq
 * @property {string} ts
 * @property {string} topic
 * @property {string} tenant
 * @property {string} event
 * @property {string | null} session_id
 * @property {string | null} node_id
 * @property {any} data
 *
 * @typedef {(envelope: Envelope) => void} Handler
 */

export class Router {
  /** @type {Map<string, Handler[]>} */ #exact = new Map();
  /** @type {{prefix: string, handler: Handler}[]} */ #prefixes = [];
  /** @type {(error: unknown, envelope: Envelope) => void} */ #onCrash;

  /** @param {(error: unknown, envelope: Envelope) => void} onCrash Told when a handler throws;
   *   the others still hear of the event. */
  constructor(onCrash) {
    this.#onCrash = onCrash;
  }

  /**
   * @param {string} type The name of an event, or the beginning of several and a `*`.
   * @param {Handler} handler
   */
  on(type, handler) {
    if (type.endsWith("*")) {
      this.#prefixes.push({ prefix: type.slice(0, -1), handler });
    } else {
      this.#exact.set(type, [...(this.#exact.get(type) ?? []), handler]);
    }
    return this;
  }

  /** Exact handlers first, then those of a prefix, each in the order they were added.
   * @param {Envelope} envelope @returns {number} How many heard of it. */
  dispatch(envelope) {
    const handlers = [
      ...(this.#exact.get(envelope.event) ?? []),
      ...this.#prefixes
        .filter(({ prefix }) => envelope.event.startsWith(prefix))
        .map(({ handler }) => handler),
    ];
    for (const handler of handlers) {
      try {
        handler(envelope);
      } catch (error) {
        this.#onCrash(error, envelope);
      }
    }
    return handlers.length;
  }
}

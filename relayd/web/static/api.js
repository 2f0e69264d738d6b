/** Requests to the server that this page came from. */

/** Rows asked for at once, and rows in all: a page that lists more is not read. */
export const PAGE_ROWS = 500;
export const ROWS_MAX = 2_000;

const REQUEST_MS = 15_000;

const OPERATORS_TOPICS = "session:*,workflow:*,ops";

/** A request that was answered with a refusal, or with nothing. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0: there was no answer. */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether the same request would be refused again. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

export class Api {
  /** @type {() => string | null} */ #key;
  /** @type {URL} */ #page;

  /** Whether those who only follow events are listed too: there may be thousands. */
  listeners = false;

  /** @param {() => string | null} key @param {string} page The address of the page, such as
   *   `https://relay.example/dashboard`: what it asks for stands beside it. */
  constructor(key, page) {
    this.#key = key;
    this.#page = new URL(page);
  }

  /**
   * The address of the event hub; it holds no key.
   *
   * @param {string | null} since Where to go on.
   * @param {boolean} operator Operators may follow everything: they leave out the topics of tenants,
   *   which tell a second time, tenant by tenant, what `ops` tells.
   * @param {boolean} streams Whether the tokens of streams are wanted too.
   */
  hubAddress(since, operator, streams) {
    const url = new URL("api/v1/ws", this.#page);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = url.hash = "";
    if (operator) url.searchParams.set("topics", OPERATORS_TOPICS);
    if (!streams) url.searchParams.set("except", "token_stream");
    if (since) url.searchParams.set("since", since);
    return url.href;
  }

  /** @param {string} path Below the page's folder. @param {RequestInit} [init]
   * @returns {Promise<any>} @throws {ApiError} */
  async request(path, init = {}) {
    let response;
    try {
      response = await fetch(new URL(path, this.#page), {
        ...init,
        headers: { authorization: `Bearer ${this.#key() ?? ""}` },
        cache: "no-store",
        credentials: "omit",
        signal: AbortSignal.timeout(REQUEST_MS),
      });
    } catch (error) {
      const late = error instanceof DOMException && error.name === "TimeoutError";
      throw new ApiError(late ? "The server did not answer." : "The server is not reachable.", 0);
    }
    const body = await response.json().catch(() => null);
    if (!response.ok) {
      throw new ApiError(body?.error?.message ?? `The server answered ${response.status}.`,
        response.status);
    }
    return body;
  }

  me() {
    return this.request("api/v1/me");
  }

  overview() {
    return this.request("api/v1/overview");
  }

  sessions() {
    return this.#all("api/v1/sessions", { listeners: String(this.listeners) });
  }

  accounts() {
    return this.#all("api/v1/accounts");
  }

  /** @param {string} sessionId */
  kill(sessionId) {
    return this.request(`api/v1/sessions/${encodeURIComponent(sessionId)}/kill`, {
      method: "POST",
    });
  }

  /** Page after page, up to a bound. @param {string} path @param {Record<string, string>} [wanted]
   * @returns {Promise<{rows: any[], complete: boolean}>} */
  async #all(path, wanted = {}) {
    const rows = [];
    let cursor = null;
    do {
      const query = new URLSearchParams({ ...wanted, limit: String(PAGE_ROWS) });
      if (cursor) query.set("cursor", cursor);
      const page = await this.request(`${path}?${query}`);
      rows.push(...page.data);
      cursor = page.next ?? null;
    } while (cursor && rows.length < ROWS_MAX);
    return { rows, complete: cursor === null };
  }
}

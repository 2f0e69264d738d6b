/** What is asked before a session is ended. */

import { ApiError } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { NOTHING, count, duration } from "./format.js";

export class KillDialog {
  /** @type {(sessionId: string) => Promise<unknown>} */ #kill;
  /** @type {any} */ #session = null;

  /** @param {(sessionId: string) => Promise<unknown>} kill */
  constructor(kill) {
    this.#kill = kill;
    this.dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
    this.button = /** @type {HTMLButtonElement} */ (byId("confirm-end"));
    this.button.addEventListener("click", () => this.#end());
  }

  /** @param {any} session */
  ask(session) {
    this.#session = session;
    const facts = [
      ["Session", session.session_id],
      ["Key", session.tenant && session.tenant !== session.key
        ? `${session.key} (${session.tenant})` : session.key],
      ["Model", session.model],
      ["Account", session.account],
      ["Lasts", `${duration((Date.now() - session.startedAt) / 1000)}, ${count(session.turns)} turns`],
    ];
    byId("confirm-facts").replaceChildren(...facts.flatMap(([name, value]) =>
      [el("dt", {}, name), el("dd", {}, value || NOTHING)]));
    setText(byId("confirm-problem"), "");
    this.button.disabled = false;
    this.dialog.showModal();
    byId("confirm-cancel").focus(); // what Enter does at once must not be the worse of the two
  }

  async #end() {
    const session = this.#session;
    this.button.disabled = true;
    try {
      await this.#kill(session.session_id);
      if (this.#session === session) this.dialog.close();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.#session !== session) return;
      setText(byId("confirm-problem"), error.message);
      this.button.disabled = false;
    }
  }
}

/** @returns {() => void} Opens the list of keys. */
export function helpDialog() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("help"));
  const open = () => dialog.showModal();
  byId("help-button").addEventListener("click", open);
  return open;
}

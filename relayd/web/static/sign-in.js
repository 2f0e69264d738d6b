/** Pasting a key, once for this tab. */

import { ApiError } from "./api.js";
import { cleaned, forgetKey, storeKey } from "./credentials.js";
import { byId, setShown, setText } from "./dom.js";

export class SignIn {
  /** @type {(key: string) => Promise<void>} */ #enter;

  /** @param {(key: string) => Promise<void>} enter Tries the key that is now stored.
   * @throws {ApiError} The key is refused, or cannot be tried. */
  constructor(enter) {
    this.#enter = enter;
    this.input = /** @type {HTMLInputElement} */ (byId("sign-in-key"));
    this.button = /** @type {HTMLButtonElement} */ (byId("sign-in-button"));
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** @param {string} [problem] Why somebody has to sign in again. */
  show(problem = "") {
    setShown(byId("app"), false);
    setShown(byId("sign-in"), true);
    setText(byId("sign-in-problem"), problem);
    this.button.disabled = false;
    document.title = "relayd";
    this.input.focus();
  }

  async #submit() {
    const key = cleaned(this.input.value);
    if (!key) return;
    this.button.disabled = true;
    setText(byId("sign-in-problem"), "");
    storeKey(key);
    try {
      await this.#enter(key);
      this.input.value = "";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.isRefusal) forgetKey();
      this.show(error.message);
      this.input.select();
    }
  }
}

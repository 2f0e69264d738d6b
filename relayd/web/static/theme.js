/** Light, dark, or as the system is. The choice is kept for this browser. */

const NAME = "relayd.theme"; // early.js reads it too
const CHOICES = ["system", "light", "dark"];
const WORDS = { system: "Auto", light: "Light", dark: "Dark" };

export class Theme {
  /** @param {HTMLElement} button @param {() => void} onChange Colours are others now. */
  constructor(button, onChange) {
    this.button = button;
    this.onChange = onChange;
    button.addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
    this.#show();
  }

  get #choice() {
    return document.documentElement.dataset.theme ?? "system";
  }

  next() {
    const choice = CHOICES[(CHOICES.indexOf(this.#choice) + 1) % CHOICES.length];
    if (choice === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem(NAME);
    } else {
      document.documentElement.dataset.theme = choice;
      localStorage.setItem(NAME, choice);
    }
    this.#show();
    this.onChange();
  }

  #show() {
    const word = WORDS[/** @type {keyof typeof WORDS} */ (this.#choice)];
    this.button.textContent = word;
    this.button.setAttribute("aria-label", `Colours: ${word}`);
  }
}

/** Single keys that do something, unless somebody is typing or a dialog is open. */

/**
 * @param {Record<string, () => void>} actions By the key.
 * @param {Document} [page]
 */
export function listenToKeys(actions, page = document) {
  page.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (page.querySelector("dialog[open]")) return;
    const input = event.target instanceof HTMLInputElement && event.target.type !== "checkbox"
      ? event.target : null;
    if (input) {
      if (event.key === "Escape" && input.type === "search") clear(input);
      return;
    }
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** The first Escape empties a filter, the second leaves it. @param {HTMLInputElement} input */
function clear(input) {
  if (!input.value) return input.blur();
  input.value = "";
  input.dispatchEvent(new Event("input"));
}

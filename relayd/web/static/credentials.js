/** The key of this tab: pasted once, kept while the tab lives, sent to this server alone. */

const NAME = "relayd.key";

/** A public item beside the one that holds the key: browsers want one of the offer echoed. */
export const SUBPROTOCOL = "relayd.hub";

const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** @param {string} key */
export function isToken(key) {
  return key.startsWith("eyJ") && JWT.test(key);
}

/** What a WebSocket offers, since a browser lets it send no header. @param {string} key */
export function subprotocols(key) {
  return [SUBPROTOCOL, (isToken(key) ? "bearer." : "openai-insecure-api-key.") + key];
}

/** What somebody pasted, without what clings to it: spaces, quotes, `Bearer`.
 * @param {string} pasted */
export function cleaned(pasted) {
  return pasted.trim().replace(/^bearer\s+/i, "").replace(/^(["'])(.*)\1$/, "$2").trim();
}

/** @returns {string | null} */
export function storedKey() {
  return sessionStorage.getItem(NAME);
}

/** @param {string} key */
export function storeKey(key) {
  sessionStorage.setItem(NAME, key);
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}

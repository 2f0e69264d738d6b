/** The dashboard: its parts, and what each tells the others. */

import { Api, ApiError } from "./api.js";
import { Connection, browserEnvironment, wakeWithThePage } from "./connection.js";
import { forgetKey, storedKey, subprotocols } from "./credentials.js";
import { KillDialog, helpDialog } from "./dialogs.js";
import { byId, setShown } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { isOwn } from "./provenance.js";
import { Refresher } from "./refresh.js";
import { Router } from "./router.js";
import { SignIn } from "./sign-in.js";
import { Store } from "./store.js";
import { Theme } from "./theme.js";
import { AccountsView } from "./view-accounts.js";
import { showCosts } from "./view-costs.js";
import { EventsView } from "./view-events.js";
import { HeaderView } from "./view-header.js";
import { showNow } from "./view-now.js";
import { SessionsView } from "./view-sessions.js";

const TICK_MS = 1_000;

/** After a server that was away when the page was opened. */
const ENTER_AGAIN_MS = 2_000;

/** The hub's close code for a key that is not valid, or not any more. */
const INVALID_KEY = 4500;

const store = new Store((run) => requestAnimationFrame(run), Date.now);
const api = new Api(storedKey, document.baseURI);
let streams = false;

// -- what comes in

const router = new Router((error, { event }) => console.error(`A view failed at ${event}.`, error))
  .on("stats", (envelope) => {
    if (!store.stats(envelope)) refresher.soon("overview");
  })
  .on("session.*", (envelope) => store.session(envelope))
  .on("turn.*", (envelope) => store.session(envelope))
  .on("account.*", (envelope) => isOwn(envelope) && refresher.soon("accounts"))
  .on("*", (envelope) => store.log(envelope));

const connection = new Connection({
  url: (since) => api.hubAddress(since, store.isOperator, streams),
  protocols: () => subprotocols(storedKey() ?? ""),
  onEvent: (envelope) => router.dispatch(/** @type {any} */ (envelope)),
  onReset: () => {
    store.missed();
    refresher.reset();
    refresher.tick(Date.now());
  },
  onState: (state) => {
    store.connection = state;
    store.changed("connection");
    if (state.phase === "stopped" && state.lastError?.code === INVALID_KEY) {
      leave(state.lastError.message);
    }
  },
  diagnose,
  environment: browserEnvironment(),
});
wakeWithThePage(connection);

// -- what is shown

const refresher = new Refresher(api, store, {
  onProblem: (problem) => header.setProblem(problem),
  onRefused: (message) => leave(message),
});
const header = new HeaderView(store, () => {
  connection.wake();
  connection.connect();
  refresher.reset();
  refresher.tick(Date.now());
});
const killing = new KillDialog((sessionId) => api.kill(sessionId));
const events = new EventsView(store, (on) => {
  streams = on;
  connection.renew();
});
const sessions = new SessionsView(store, {
  onKill: (session) => killing.ask(session),
  onOpen: (session) => events.filterBy(session.session_id),
  onListeners: (shown) => {
    api.listeners = shown;
    refresher.soon("sessions");
  },
});
new AccountsView(store);
showCosts(store);
const redraw = showNow(store);
const theme = new Theme(byId("theme"), redraw);
const openHelp = helpDialog();

listenToKeys({
  "/": () => sessions.input.focus(),
  "?": openHelp,
  s: () => sessions.table.element.focus(),
  e: () => events.input.focus(),
  p: () => events.toggle(),
  t: () => theme.next(),
  k: () => {
    if (store.isOperator && sessions.selected) killing.ask(sessions.selected);
  },
});

setInterval(() => {
  if (document.visibilityState !== "visible" || !store.identity) return;
  store.tick();
  refresher.tick(Date.now());
}, TICK_MS);

// -- who looks

const signIn = new SignIn(enter);

/** Ask who the stored key is, and begin. @throws {ApiError} */
async function enter() {
  const key = storedKey();
  const me = await api.me();
  if (key !== storedKey() || store.identity) return; // somebody was quicker
  store.identity = { role: me.role, tenant: me.tenant, name: me.name };
  setShown(byId("sign-in"), false);
  setShown(byId("app"), true);
  store.changed("identity", "overview", "sessions", "accounts", "events", "connection");
  refresher.reset(); // with the connection's welcome all is asked for, or with the next tick
  connection.connect();
}

/** @param {string} [problem] */
function leave(problem) {
  forgetKey();
  connection.close();
  refresher.reset();
  store.forget();
  signIn.show(problem);
}

/** Why a WebSocket would not open. */
async function diagnose() {
  try {
    await api.me();
    return null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isRefusal) leave(error.message);
    return { fatal: error.isRefusal, message: error.message };
  }
}

/** A page that was opened with a key of before; a server that is away is waited for. */
async function begin() {
  if (store.identity) return;
  if (!storedKey()) return signIn.show();
  try {
    await enter();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isRefusal) return leave(error.message);
    signIn.show(`${error.message} The key of this tab is kept; trying again.`);
    setTimeout(begin, ENTER_AGAIN_MS);
  }
}

byId("sign-out").addEventListener("click", () => leave());
begin();

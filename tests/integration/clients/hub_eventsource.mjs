// A client of the hub with an EventSource, which connects again by itself.
//
// Usage: node hub_eventsource.mjs JSON, an object with "url", "topics", the first of "tokens", and
// "names" of events.
// Prints one JSON object for each thing that happens, until it is ended.

import { EventSource } from "eventsource";

const told = JSON.parse(process.argv[2]);
const tell = (what, members = {}) => console.log(JSON.stringify({ what, ...members }));
const headers = { Authorization: `Bearer ${told.tokens[0]}` };
const withKey = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } });

const url = `${told.url}?topics=${told.topics.join(",")}`;
const source = new EventSource(url, { fetch: withKey });

source.onopen = () => tell("connected");
source.onerror = ({ code }) => tell("error", { code: code ?? null });
for (const name of told.names) {
  source.addEventListener(name, ({ data, lastEventId }) => {
    const envelope = JSON.parse(data);
    const offset = Number(envelope.id.split(":")[1]);
    tell("event", { topic: envelope.topic, offset, envelope, last_event_id: lastEventId });
  });
}
source.addEventListener("resync_required", ({ data }) => {
  tell("resync", { envelope: JSON.parse(data) });
});
source.addEventListener("closed", ({ data }) => tell("closed", JSON.parse(data)));

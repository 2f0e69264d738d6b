// A client of the hub with the published Centrifuge package for JavaScript.
//
// Usage: node hub_centrifuge.mjs JSON, as hub_centrifuge.py has it.
// Prints one JSON object for each thing that happens, until it is ended or may not come back.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const told = JSON.parse(process.argv[2]);
const tokens = [...told.tokens];
const nextToken = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
const tell = (what, members = {}) => console.log(JSON.stringify({ what, ...members }));

const client = new Centrifuge(told.url, {
  token: nextToken(),
  getToken: async () => {
    tell("asked for a token");
    return nextToken();
  },
  minReconnectDelay: 20,
  maxReconnectDelay: 200,
  websocket: WebSocket,
});

client.on("connecting", ({ code, reason }) => tell("connecting", { code, reason }));
client.on("connected", ({ client }) => tell("connected", { client }));
client.on("disconnected", ({ code, reason }) => tell("disconnected", { code, reason }));

const topics = told.topics.map((topic) => {
  const subscription = client.newSubscription(topic, { recoverable: true });
  subscription.on("subscribed", ({ wasRecovering, recovered }) =>
    tell("subscribed", { topic, resumed: wasRecovering, recovered }),
  );
  subscription.on("publication", ({ offset, data }) =>
    tell("event", { topic, offset, envelope: data }),
  );
  subscription.on("unsubscribed", ({ code }) => tell("unsubscribed", { topic, code }));
  subscription.on("error", ({ error }) => tell("error", { topic, code: error.code }));
  subscription.subscribe();
  return subscription;
});
client.connect();

for (const data of told.publish ?? []) {
  try {
    await topics[0].publish(data);
    tell("published");
  } catch ({ code }) {
    tell("refused", { code });
  }
}

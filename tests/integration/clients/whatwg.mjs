// A conversation over the WHATWG WebSocket that browsers have, here Node's own: no headers can be
// set, the key is a subprotocol, and the connection fails unless the server picks one of those.
//
// Usage: node [--experimental-websocket] whatwg.mjs WS_URL KEY
// Prints one JSON object.

const [url, key] = process.argv.slice(2);
const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${key}`]);
const result = { protocol: null, types: [], transcript: "", code: null };

const send = (event) => socket.send(JSON.stringify(event));

socket.onopen = () => {
  result.protocol = socket.protocol;
};

socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  result.types.push(event.type);
  if (event.type === "session.created") {
    const content = [{ type: "input_text", text: "hello from a browser" }];
    send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    send({ type: "response.create" });
  } else if (event.type === "response.output_audio_transcript.delta") {
    result.transcript += event.delta;
  } else if (event.type === "response.done") {
    socket.close(1000, "thank you");
  }
};

socket.onclose = ({ code }) => {
  result.code = code;
  console.log(JSON.stringify(result));
};

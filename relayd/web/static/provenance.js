/**
 * Who said it: relayd, or somebody with a key that may publish.
 *
 * An event's name and its `session_id` are chosen by whoever publishes it, but its topic is one
 * that the server let them publish to: `ops`, tenants' topics and those of relayd's own sessions
 * are published by relayd alone.
 */

const OWN_TOPIC = /^(?:ops$|tenant:|session:sess_)/;
const OWN_EVENT = /^(?:(?:session|turn|account|usage)\.|stats$|resync_required$)/;

/** Whether relayd itself published an event.
 * @param {{topic: string | null}} envelope */
export function isOwn({ topic }) {
  return typeof topic === "string" && OWN_TOPIC.test(topic);
}

/** Whether an event bears a name of relayd's, and is not: it is shown as what it is, and nothing
 * of it is believed. @param {{topic: string | null, event: string}} envelope */
export function isBorrowed(envelope) {
  return OWN_EVENT.test(envelope.event) && !isOwn(envelope);
}

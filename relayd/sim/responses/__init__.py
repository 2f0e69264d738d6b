"""A simulated upstream of the Responses API in WebSocket mode, v2: multiplexed by ``stream_id``.

Source: the WebSocket mode guide and the event types of openai-python 3.52; for what Codex and the
ChatGPT backend add to them, the events that its client reads.
"""

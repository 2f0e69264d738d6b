"""relayd: one Trio daemon between AI clients and the WebSocket services they talk to."""

__version__ = "0.1.0"

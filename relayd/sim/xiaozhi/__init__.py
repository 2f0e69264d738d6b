"""A simulated xiaozhi server and device: speech over WebSockets, MCP on top, settings over HTTP.

Source: the wire as devices (xiaozhi-esp32, py-xiaozhi) and servers (xiaozhi-esp32-server) have it.
"""

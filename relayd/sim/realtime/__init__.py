"""A simulated Realtime upstream, in the GA shape.

Source: the Realtime API reference (client events, server events, sessions over WebSocket).
"""

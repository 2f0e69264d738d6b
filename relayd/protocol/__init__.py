"""Wire formats as pure functions and state machines: bytes and ``now`` in, values out."""

"""Upstreams that are played, not called: the embedded default, the tests' peer and the demo.

Each speaks its provider's protocol as documented and has named scenarios for that provider's
failures. None of them shares a line with the byte path, so neither can hide the other's mistake.
"""

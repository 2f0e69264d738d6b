"""The event hub's core: topics, their rings, who follows them, what waits for whom.

Nothing here does I/O or reads a clock: ``now`` comes in, values and bytes go out.
"""

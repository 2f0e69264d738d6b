"""One client, one upstream: who may come in, how they are joined, and how it ends."""

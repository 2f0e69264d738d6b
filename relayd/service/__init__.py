"""The daemon: listeners, the front door, the admin listener, start and drain."""

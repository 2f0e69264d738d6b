"""Sockets: dialling, TLS, and the endpoints and the reactor that serve them. Knows no dialect."""

"""From an upgrade to a session, one way for each kind of dialect."""

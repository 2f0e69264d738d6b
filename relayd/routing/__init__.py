"""Which account a session goes to, and what relayd knows of how each account is doing."""

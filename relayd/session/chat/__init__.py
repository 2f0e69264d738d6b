"""One request of the chat dialect: an account, a socket of its own, an answer, a bill."""

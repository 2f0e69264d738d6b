"""What devices ask for over HTTP, on the public port, before they open their sockets."""

"""Sessions of the responses dialect: lanes of a client over leases on pooled upstream sockets."""

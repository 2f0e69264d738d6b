"""HTTP/1.1 on one raw socket: requests in turn, whole or streamed answers, and a route table."""

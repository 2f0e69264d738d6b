"""Upstream sockets that are kept between turns, and the leases by which turns use them."""

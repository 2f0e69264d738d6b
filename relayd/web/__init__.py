"""The dashboard: files that relayd ships and a browser runs."""

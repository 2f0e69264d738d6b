"""The event hub and the dashboard over HTTP, on the public port."""

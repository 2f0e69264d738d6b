"""WebSocket sessions of the event hub."""

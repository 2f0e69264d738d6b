"""Sessions of xiaozhi devices: one socket of a device, and one server after another behind it."""

"""What the messages of each protocol mean: pure readers over payloads, no I/O and no clock."""

"""What relayd says of itself: log lines, and the bus of session and turn events."""

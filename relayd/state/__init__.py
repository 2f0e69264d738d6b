"""Shared counters and small values behind one async interface."""

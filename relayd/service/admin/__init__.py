"""The admin listener: probes, metrics, live state and actions, for operators and programs."""

"""The configuration: one TOML file, read into frozen values. It blocks, at start and at reload."""

"""The heart: gates, journal and the one way a model version moves."""

"""The monitoring page and what it shows of the past."""

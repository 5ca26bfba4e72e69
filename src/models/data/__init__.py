"""Where this repository's own families get their rows."""

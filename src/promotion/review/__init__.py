"""Pages for whoever approves: one version against another, on the same rows."""

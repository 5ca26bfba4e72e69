"""Models that were trained elsewhere: run in a process of their own, scored on the owner's rows."""

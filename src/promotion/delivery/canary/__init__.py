"""A canary that decides with evidence: its steps, what is counted at the pods, and what the counts say."""

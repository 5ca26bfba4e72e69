"""Train the three boosters, weigh them, record and register the ensemble."""

"""Journal and MLflow brought together: what is written there, what somebody changed there, what is done about it."""

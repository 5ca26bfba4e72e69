"""A version goes from one MLflow server to another: files, run, and what was proven of it."""

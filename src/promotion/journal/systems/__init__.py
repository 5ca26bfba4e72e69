"""What the journal keeps of systems beside MLflow: attempts on clusters, events for receivers."""

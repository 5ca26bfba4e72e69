"""MLflow's model registry behind one small protocol: direct reads, REST, or its own client."""

"""A version as a folder that serves without MLflow and without us, proven to answer like the registered model."""

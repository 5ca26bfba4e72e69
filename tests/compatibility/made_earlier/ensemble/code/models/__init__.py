"""Training, evaluation and use of models; the registry as an API for people (`models.model_registry`)."""

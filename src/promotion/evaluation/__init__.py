"""What a model is worth and what it costs: loaded safely, scored and measured on rows it has not seen."""

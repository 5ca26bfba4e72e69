"""Train candidates, select one by cross-validation, record and register them."""

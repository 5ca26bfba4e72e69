"""What the rows really were, once somebody knows."""

"""Daily sales: Kaggle's files, or an invented chain of stores."""

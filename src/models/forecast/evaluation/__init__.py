"""What a sales ensemble is worth: RMSPE on the last days, and the review of two of them."""

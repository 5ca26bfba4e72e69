"""What was seen: requests, predictions, labels, drift; measured, not judged."""

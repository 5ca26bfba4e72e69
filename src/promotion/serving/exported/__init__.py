"""The exported folder: its files, the rows its schema takes, and the engine that answers them."""

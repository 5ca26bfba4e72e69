"""Who has to agree before a version may move, and who has."""

"""Who is told, when, and what became of it."""

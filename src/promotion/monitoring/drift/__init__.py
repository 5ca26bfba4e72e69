"""How far the values of live rows moved from those of the reference."""

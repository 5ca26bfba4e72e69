"""Keys, and signatures in the format of SSH."""

"""A family's file, and the settings of the machine."""

"""The commands that watch what serves."""

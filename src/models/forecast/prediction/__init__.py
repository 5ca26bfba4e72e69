"""Rows to forecast."""

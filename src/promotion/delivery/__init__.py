"""Delivery: put a version's image on a cluster, watch it, and take it back together with the registry."""

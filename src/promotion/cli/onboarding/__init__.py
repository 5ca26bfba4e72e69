"""The verbs of a team that has a server and models already."""

"""A team that has a server and models already: what state they are in, and a first file for a family of them."""

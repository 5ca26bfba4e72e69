"""The record that decides: who is in Production, who moved it, on what evidence; hash-chained."""

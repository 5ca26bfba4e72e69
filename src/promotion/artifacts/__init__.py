"""A version's files: fetched, digested, scanned, and held against the signature of whoever made them."""

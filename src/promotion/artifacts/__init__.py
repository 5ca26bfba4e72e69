"""A version's files: fetched, digested, scanned, held against their signature, and who registered them."""

"""Other systems are told by HTTP what happens to versions: who, in which form, and how often it is tried."""

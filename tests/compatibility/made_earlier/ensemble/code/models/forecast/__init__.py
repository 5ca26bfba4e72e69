"""Daily sales 42 days ahead: history, features, boosters and the ensemble of them."""

"""A/B tests: champion and challenger on live requests, compared by the labels that arrived."""

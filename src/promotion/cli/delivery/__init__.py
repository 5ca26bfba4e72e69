"""The verbs that bring a version somewhere: a folder, an image, a cluster."""

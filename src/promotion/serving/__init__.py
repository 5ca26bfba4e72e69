"""The HTTP server of the image: one exported model, three protocols, nothing of training or of the registry."""

"""The cluster: what is applied to it, what `kubectl` shows, how a rollout is followed, and why one failed."""

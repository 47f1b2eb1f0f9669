"""The control plane's own process: what starts it, and the way there from a worker."""

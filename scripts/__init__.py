"""Programs for a checkout: set-up, pinning and the container's entry point. Not installed."""

"""The explorer: pages over `core`."""

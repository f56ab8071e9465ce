"""NUTS: chains on whitened coordinates, and whether they agree."""

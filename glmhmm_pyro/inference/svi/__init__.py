"""Variational inference: guides, the bound, mini-batches of sessions."""

"""The evidence of parameters, latents that have a normal law integrated out."""

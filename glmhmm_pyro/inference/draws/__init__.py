"""Draws of the parameters: what stands for them, numbers them and judges them."""

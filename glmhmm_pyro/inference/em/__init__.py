"""Expectation-maximisation: its steps, and what makes them fast and safe."""

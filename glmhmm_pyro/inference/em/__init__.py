"""Expectation-maximisation: its options, its loop, and what makes it fast."""

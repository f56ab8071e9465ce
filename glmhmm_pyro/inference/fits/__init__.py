"""Fits: what a method found, its tables and files, and what it says of data."""

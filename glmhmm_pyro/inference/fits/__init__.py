"""What every method returns: a fit, its tables and files, what it says of data."""

"""Second derivatives of the density: information, errors, Newton steps."""

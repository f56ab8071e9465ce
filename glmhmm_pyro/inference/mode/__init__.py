"""The mode of the log-joint, its curvature, and the normal around it."""

"""The mode of the log-joint, and the normal distribution around it."""

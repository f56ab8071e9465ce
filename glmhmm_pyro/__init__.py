"""GLM-HMMs in Pyro."""

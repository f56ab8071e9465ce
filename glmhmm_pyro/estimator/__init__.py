"""The predecessor's face: pyGLMHMM's call, on this package's model and optimiser."""

from glmhmm_pyro.estimator.face import GLMHMMEstimator

__all__ = ["GLMHMMEstimator"]

"""How a fit ended, and what it warns of."""

from enum import Enum


class Status(Enum):
    """How a fit ended; the value is the sentence that users read.

    Example:
        >>> import glmhmm_pyro as gh
        >>> gh.Status["MAX_ITERS"].value
        'stopped at the largest number of iterations, not yet converged'
    """

    CONVERGED = "the log-joint, or its bound, changed by less than the tolerance"
    GIVEN = "the parameters were given, nothing was fitted"
    MAX_ITERS = "stopped at the largest number of iterations, not yet converged"
    INTERRUPTED = "interrupted; these are the parameters of the last full iteration"
    PRUNED = (
        "stopped early, for it decoded the states of a start that went on, or stood "
        "below several others"
    )
    UNBOUNDED = (
        "some weights have no finite maximum, or hardly one: the likelihood still "
        "rises, or is flat, as they grow"
    )
    START_FAILED = (
        "an error ended this start: its log-joint fell, or a number could not be found"
    )
    STALLED = "the search found no higher log-joint, but its gradient is not yet 0"
    NON_FINITE = (
        "the log-joint or its gradient is not finite where the search led; these are "
        "the last parameters at which both were"
    )
    M_STEP_FAILED = (
        "EM could not go on: an M-step found no maximum, so that some parameters are "
        "where it left them"
    )
    COLLAPSED = (
        "the log-joint has no finite maximum: the density of a prior or of emissions "
        "still rises as parameters run to the end of their support"
    )
    SINGULAR = (
        "the posterior has no normal approximation, for its curvature is singular; "
        "these are the parameters of MAP, without draws"
    )
    NO_CURVATURE = (
        "the posterior has no normal approximation, for torch cannot differentiate its "
        "density twice; these are the parameters of MAP, without draws"
    )
    POOR_DRAWS = "the draws are far from the posterior that they approximate"
    SAMPLED = "the chains have mixed"
    CUT_SHORT = "interrupted; these are the draws that were finished"
    FAILED = "a chain ended with an error; the draws before it are kept"
    STUCK = "a chain never moved, so its draws say nothing"
    DIVERGED = "trajectories diverged, so the draws may miss a part of the posterior"
    NOT_MIXED = "the chains have not mixed, or their draws are too few"
    UNCHECKED = "the draws are kept, but it is not known whether the chains have mixed"
    IMPROPER = "flat priors do not guarantee that there is a posterior to draw from"

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        return self.value

    @property
    def is_success(self) -> bool:
        """Whether the fit ended as it should, so that nothing is to be warned of."""
        return self in (Status.CONVERGED, Status.GIVEN, Status.SAMPLED)

    @property
    def advice(self) -> str:
        """What a user can do about it, of a model with several states."""
        return self.advice_for(None)

    def advice_for(self, num_states: int | None) -> str:
        """What a user can do about it.

        Args:
            num_states: of the model; ``None`` where there may be several.
        """
        known = _ADVICE.get(self, "")
        return known + _FEWER if self in _OF_STATES and num_states != 1 else known


# What else helps where there are several states.
_FEWER = " Or use fewer states."

_ADVICE = {
    Status.MAX_ITERS: "Raise num_iters (num_steps of SVI), or accept a larger tol.",
    Status.INTERRUPTED: "Fit again with init=fit.params to go on.",
    Status.PRUNED: "Fit with init set to one way of making starts, such as 'glm', to "
    "follow every start to its end.",
    Status.START_FAILED: "Mend what the error names; other starts are not touched.",
    Status.UNBOUNDED: "Give the weights a weak prior, such as Normal(0, 2): it keeps "
    "them finite, and changes little where the data speak. Or do not interpret these "
    "weights.",
    Status.COLLAPSED: "Give scales a prior that all but vanishes at 0, such as "
    "InverseGamma(2, 1) in units of the output, concentrations of Gamma outputs one "
    "such as Gamma(2, 0.1), probabilities a Dirichlet with concentrations from 1; take "
    "covariance='diagonal' where a correlation runs to 1 or -1.",
    Status.STALLED: "Standardise the covariates, or give other starts by init; where "
    "a component of your own is named, or a density of your own has a kink, write it "
    "so that its gradient is right everywhere.",
    Status.NON_FINITE: "Standardise the covariates, give proper priors, or other "
    "starts by init; where a component of your own is named, write it so that its "
    "log density and gradient are finite.",
    Status.M_STEP_FAILED: "Write the component so that its log density and gradient "
    "are finite.",
    Status.SINGULAR: "Give the parameters named proper priors, such as Normal(0, 2), "
    "or drop covariates that repeat others.",
    Status.NO_CURVATURE: "Take method='nuts' or 'svi', which need slopes alone.",
    Status.POOR_DRAWS: "Take method='nuts', or priors that hold the parameters closer.",
    Status.CUT_SHORT: "Sample again with init=fit.params to have all of them.",
    Status.FAILED: "Give priors that keep the parameters where the model is defined.",
    Status.STUCK: "Raise num_warmup, in which the size of the steps is found.",
    Status.DIVERGED: "Raise target_accept, or write scales of a hierarchy non-centred.",
    Status.NOT_MIXED: "Raise num_warmup and num_samples where chains are in one mode; "
    "look at fit.diagnostics().",
    Status.UNCHECKED: "Mend what the note names, then look at fit.diagnostics().",
    Status.IMPROPER: "Give these sites a prior, such as Normal(0, 2).",
}

_OF_STATES = (Status.UNBOUNDED, Status.COLLAPSED, Status.SINGULAR)


class ConvergenceWarning(UserWarning):
    """A fit ended without reaching a proper maximum.

    Example:
        >>> import warnings
        >>> import glmhmm_pyro as gh
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", gh.ConvergenceWarning)  # A first look.
    """


class StandardErrorWarning(ConvergenceWarning):
    """Some standard errors of a fit are missing or mean little, as at a border.

    The fit itself may have converged; it is a ``ConvergenceWarning`` so that filters
    for these leave it out, too.

    Example:
        >>> import warnings
        >>> from glmhmm_pyro.inference import StandardErrorWarning
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", StandardErrorWarning)
    """


class FallingLikelihoodError(RuntimeError):
    """The log-joint fell between two EM iterations, which is a fault of the program."""

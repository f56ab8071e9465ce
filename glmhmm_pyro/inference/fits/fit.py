"""Fit: the record of a fitted model, and what can be done with it."""

from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Generic

from glmhmm_pyro.arguments import suggests_all_names, want_kind
from glmhmm_pyro.inference.fits import (
    criteria,
    display,
    ends,
    errors,
    export,
    fit_checking,
    lookups,
    online_fit,
    prediction,
    renumbered,
    simulation,
    states,
    storage,
)
from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.restored import in_users_units
from glmhmm_pyro.inference.program.by_site import BySite
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Data, Model, Program
from glmhmm_pyro.inference.search.runs import Findings


@suggests_all_names
@dataclass(frozen=True, kw_only=True, repr=False)
class Fit(Findings, Generic[Data]):
    """A fitted model: what a method found, with the model and names of its data.

    Attributes:
        model: the model, bound to the data.
        labels: names that the data gave to sessions, classes and covariates, and the
            user to states.
        num_parameters: number of free parameters; reference rows, sums to 1 and
            latents left out.
        baseline: a single state of the family without covariates, fitted to the same
            data, against which scores in bits are; ``None`` in an older file.

    Those of :class:`Findings` are its other attributes.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> fit.parameters["emissions.weights"].dims, fit.num_parameters
        (('state', 'covariate'), 1)
    """

    model: Any
    labels: Labels
    num_parameters: int = 0
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", BySite(self.params))

    @classmethod
    def of(
        cls,
        program: Program[Any, Data],
        found: Findings,
        baseline: Baseline | None = None,
    ) -> "Fit[Data]":
        """The fit of a program, in the user's units, from what a method found of it."""
        found = in_users_units(program, found)
        return cls(
            model=program.users_model,
            labels=Labels.of_program(program),
            num_parameters=program.num_parameters,
            baseline=baseline,
            **{field.name: getattr(found, field.name) for field in fields(Findings)},
        )

    @classmethod
    def load(cls, path: str | PathLike, model: Model | None = None) -> "Fit[Any]":
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Args:
            path: the file.
            model: the model that was fitted, needed only if it has components or priors
                of the user's own, or is the user's own.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, of another program or of a newer format, or
                ``model`` is not the model that was fitted.

        Example:
            >>> import glmhmm_pyro as gh
            >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
            >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
            >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
            >>> import os, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     fit.save(os.path.join(folder, "fit.nc"))
            ...     again = gh.load(os.path.join(folder, "fit.nc"))
            >>> again.log_likelihood == fit.log_likelihood
            True
        """
        return cls(**storage.read_fit(path, model))

    save = storage.save

    # What the fit is, and how its starts ended.
    __repr__ = ends.sentence
    _repr_html_ = display.html
    parameters = property(lookups.parameters)
    draws = property(lookups.draws)
    log_likelihood_per_step = property(lookups.log_likelihood_per_step)
    history = property(ends.history)
    num_starts = property(ends.num_starts)
    num_agreeing = property(ends.num_agreeing)
    unseen_share = property(ends.unseen_share)
    doubt = property(ends.doubt)
    restart_report = ends.restart_report
    solution_report = ends.solution_report

    # How well its parameters are known.
    summary = errors.summary
    standard_errors = errors.standard_errors
    covariance = errors.covariance
    diagnostics = errors.diagnostics
    to_arviz = export.to_arviz

    # How well it describes them, for the number of its parameters.
    aic = property(criteria.aic)
    bic = property(criteria.bic)
    icl = criteria.icl

    # What speaks against it.
    check = fit_checking.check

    # What it says of data.
    as_fitted = lookups.as_fitted
    distribution = lookups.distribution
    decode = prediction.decode
    sample_states = prediction.sample_states
    predict = prediction.predict
    online = online_fit.online
    log_prob = criteria.log_prob
    score = criteria.score
    simulate = simulation.simulate

    # The same with its states in another order, and with names.
    state_names = property(states.state_names)
    named = states.named
    ordered = states.ordered
    permuted = renumbered.permuted
    aligned = renumbered.aligned


want_kind(Fit, "gh.fit(model, data) makes one, gh.load reads one")

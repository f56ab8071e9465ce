"""Hyperparameters of priors learnt from the data: the largest evidence decides."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.analysis.cross_validation import made
from glmhmm_pyro.analysis.evidence import (
    NoEvidenceError,
    expand_at_mode,
    require_proper,
    search_near,
)
from glmhmm_pyro.analysis.refits import whole_fit
from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import ConvergenceWarning, Fit
from glmhmm_pyro.inference.methods import engine_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd

# Step of a logarithm by which slopes are found: far above the rounding of a mode.
_STEP = 1e-3

# Nats by which a step of the search must still raise the evidence to go on.
_ENOUGH = 1e-2

# Furthest that a logarithm moves before modes are looked for from a new place.
_BOX = 1.0

# Factor to either side of the start that the search keeps to by default.
_REACH = 100.0


@dataclass(frozen=True, repr=False)
class EvidenceMaximum:
    """Hyperparameters under which the data are most probable.

    Attributes:
        values: the hyperparameters.
        log_evidence: Laplace's at these, nats.
        fit: the model at these, fitted by MAP.
        table: a row an evaluation: hyperparameters and ``log_evidence``.
        converged: whether the search ended by itself.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(3))
        >>> def ridge(scale):
        ...     return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(scale)))
        >>> start, maximise = {"scale": 1.0}, gh.analysis.maximise_evidence
        >>> found = maximise(ridge, start, data, progress=False)
        >>> list(found.values)
        ['scale']
    """

    values: dict[str, float]
    log_evidence: float
    fit: Fit
    table: "pd.DataFrame"
    converged: bool

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {v:.4g}" for name, v in self.values.items())
        return f"{values}; log evidence {self.log_evidence:.4f} nats"


@suggests_names
@usual_modes()
def maximise_evidence(
    make_model: Callable[..., GLMHMM],
    start: Mapping[str, float],
    data: Sequences,
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    num_restarts: int = 5,
    max_evals: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> EvidenceMaximum:
    r"""Learn positive hyperparameters of any priors by maximising the evidence.

    .. math:: \hat\phi = \arg\max_\phi \log p(y \mid \phi)

    with Laplace's evidence, see :func:`log_evidence`. With a
    :class:`gh.priors.GaussianProcess` of its own for each group of lags this is
    automatic smoothness determination, ASD (Sahani & Linden 2003; for point processes
    Park & Pillow 2011): length scale and size of every filter are learnt. With a
    :class:`gh.priors.Ridge` it is MacKay's choice of a penalty.

    The search is a quasi-Newton one (L-BFGS-B) over the logarithms, slopes by
    differences, box by box. Modes are found from that at the middle of the box, so that
    the optimum followed is the best of ``num_restarts`` starts at ``start``.

    Args:
        make_model: from the hyperparameters, as keywords, to a model whose priors are
            all proper.
        start: positive numbers, by name.
        data: what the model is fitted to.
        bounds: lower and upper end, by name; by default a hundredth of the start and a
            hundred times it.
        num_restarts: number of starts of the first fit.
        max_evals: number of evaluations after which no other step is begun.
        seed: makes the first fit reproducible.
        progress: whether to show a progress bar.

    Raises:
        ValueError: an argument is wrong, a prior is improper, or a posterior on the way
            has no normal approximation.

    Warns:
        ConvergenceWarning: the search ended at ``max_evals``, by an interrupt, or at a
            bound.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(6))
        >>> def ridge(scale):
        ...     return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(scale)))
        >>> found = maximise_evidence(ridge, {"scale": 1.0}, data, progress=False)
        >>> list(found.values), found.converged
        (['scale'], True)
    """
    max_evals = whole_number("max_evals", max_evals, 1)
    names, first, limits = _checked(start, bounds)
    path = _EvidencePath(make_model, names, data, max_evals, progress)
    path.begin(first, num_restarts, seed)
    with path.bar:
        try:
            converged = _climb(path, np.log(limits), max_evals)
        except KeyboardInterrupt:
            converged = False
    return path.best(converged, np.log(limits))


def _climb(path: "_EvidencePath", limits: np.ndarray, max_evals: int) -> bool:
    """Search box by box around the best point so far; whether the end was reached."""
    from scipy.optimize import minimize

    while True:
        centre = path.recentred()
        box = np.clip(centre[:, None] + [-_BOX, _BOX], *limits.T[:, :, None])
        spent = len(path.points)
        ended = minimize(
            path,
            centre,
            method="L-BFGS-B",
            bounds=box,
            options={
                "eps": _STEP,
                "maxfun": max_evals - spent,
                "ftol": _ENOUGH / max(abs(path.log_evidences[0]), 1.0),
                "gtol": _ENOUGH,
            },
        )
        if len(path.points) >= max_evals:
            return False
        found = path.recentred()
        at_edge = np.isclose(found[:, None], box) & ~np.isclose(box, limits)
        if not at_edge.any():
            return bool(ended.success)


class _EvidencePath:
    """Minus the log evidence of logarithms, modes found from the best one."""

    def __init__(
        self,
        make_model: Callable[..., GLMHMM],
        names: tuple[str, ...],
        data: Sequences,
        max_evals: int,
        progress: bool,
    ):
        self.make_model, self.names, self.data = make_model, names, data
        self.bar = tqdm(total=max_evals, desc="evidence", disable=not progress)
        self.points: list[np.ndarray] = []
        self.log_evidences: list[float] = []
        self.modes: list[Params] = []
        self.factor: Tensor | None = None
        self.centre = 0
        self.first: Fit | None = None

    def begin(self, values: np.ndarray, num_restarts: int, seed: int) -> None:
        """The first fit, from several starts, and its evidence."""
        model = self._model(values)
        require_proper(Program.of(model, self.data))
        self.first = whole_fit(
            model,
            self.data,
            engine_of("map", {}),
            num_restarts=num_restarts,
            seed=seed,
            progress=False,
        )
        self(np.log(values))

    def __call__(self, logs: np.ndarray) -> float:
        """Minus the log evidence."""
        for point, known in zip(self.points, self.log_evidences):
            if np.array_equal(point, logs):
                return -known
        values = np.exp(logs)
        program = Program.of(self._model(values), self.data).in_own_units()
        if self.first is None:
            raise RuntimeError("an evaluation must follow the first fit")
        start = self.modes[self.centre] if self.modes else self.first.params
        try:
            mode, status = search_near(program, start, self.factor)
            expansion = expand_at_mode(program, mode, status, self.first)
        except NoEvidenceError as error:
            raise NoEvidenceError(f"at {self._named(values)}: {error}") from error
        self.factor = expansion.factor
        self.points.append(np.array(logs))
        self.log_evidences.append(expansion.log_evidence)
        self.modes.append(expansion.mode)
        self.bar.update()
        return -expansion.log_evidence

    def recentred(self) -> np.ndarray:
        """The best point so far, from whose mode all others are found from now on."""
        self.centre = int(np.argmax(self.log_evidences))
        return self.points[self.centre]

    def best(self, converged: bool, limits: np.ndarray) -> EvidenceMaximum:
        """The best evaluation, fitted once more for its history and status."""
        import pandas as pd

        number = int(np.argmax(self.log_evidences))
        values = dict(zip(self.names, np.exp(self.points[number]).tolist()))
        table = pd.DataFrame(np.exp(self.points), columns=list(self.names))
        table["log_evidence"] = self.log_evidences
        found = whole_fit(
            made(self.make_model, **values),
            self.data,
            engine_of("map", {}),
            num_restarts=1,
            init=self.modes[number],
            progress=False,
        )
        at_bound = np.isclose(self.points[number][:, None], limits).any(1)
        stuck = [name for name, is_at in zip(self.names, at_bound) if is_at]
        if stuck or not converged:
            what = f"at a bound of {', '.join(stuck)}" if stuck else "before its end"
            warn_caller(
                f"the search for the largest evidence stopped {what}; give wider "
                "bounds, more max_evals or another start",
                ConvergenceWarning,
            )
        best = self.log_evidences[number]
        return EvidenceMaximum(values, best, found, table, converged)

    def _model(self, values: np.ndarray) -> GLMHMM:
        return made(self.make_model, **dict(zip(self.names, values.tolist())))

    def _named(self, values: np.ndarray) -> str:
        return ", ".join(f"{n} = {v:.4g}" for n, v in zip(self.names, values))


def _checked(
    start: Mapping[str, float], bounds: Mapping[str, tuple[float, float]] | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, starting values, and limits (hyperparameters, 2)."""
    names, bounds = tuple(start), dict(bounds or {})
    unknown = [name for name in bounds if name not in start]
    if not names or unknown:
        raise ValueError(
            "bounds must name hyperparameters of start, which are "
            f"{', '.join(names) or 'none'}, got {', '.join(unknown) or 'nothing'}"
            "; name some of these"
        )
    limits = []
    for name, value in start.items():
        low, high = bounds.get(name, (value / _REACH, value * _REACH))
        if not 0 < low <= value <= high < math.inf:
            raise ValueError(
                f"start[{name!r}] must be a positive number inside its bounds "
                f"({low:g}, {high:g}), got {value!r}"
                "; give a number in there, or wider bounds"
            )
        limits.append((low, high))
    return names, np.array(list(start.values()), dtype=float), np.array(limits)

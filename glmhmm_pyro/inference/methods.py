"""fit: one function for every inference method."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glmhmm_pyro.inference.em import EM, Run
from glmhmm_pyro.inference.fit import Fit, Restart, seeded
from glmhmm_pyro.inference.labels import Labels
from glmhmm_pyro.inference.starts import make_starts
from glmhmm_pyro.inference.status import ConvergenceWarning, Status
from glmhmm_pyro.inference.unbounded import unbounded_weights
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

_ADVICE = {
    Status.MAX_ITERS: "Raise num_iters, or accept a larger tol.",
    Status.INTERRUPTED: "Fit again with init=fit.params to go on.",
    Status.UNBOUNDED: "Give the weights a prior, such as Normal(0, 2), use fewer "
    "states, or do not interpret these weights.",
}

# Bytes of the tables that parameter sets advancing together may take.
_TABLE_BYTES = 1 << 29


def fit(
    model: GLMHMM,
    data: Sequences,
    method: str | EM = "em",
    *,
    num_restarts: int = 10,
    init: str | Mapping[str, Any] = "glm",
    init_noise: float = 0.5,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Fit:
    """Fit a model to data.

    Args:
        model: it is not changed; the fit holds a copy bound to the data.
        data: the data set.
        method: ``"em"``, or an :class:`EM` with options of its own.
        num_restarts: number of starts; the one with the best log-joint is kept.
        init: ``"glm"``, ``"kmeans"``, ``"random"``, a mapping from site names to
            values, or an earlier fit's ``params``; see :func:`make_starts`.
        init_noise: standard deviation of the noise that tells starts apart, in units of
            1 over the root mean square of a weight's covariate.
        seed: makes the fit reproducible.
        progress: whether to show a progress bar.
        options: fields of the method, e.g. ``num_iters``, ``tol``, ``keep_weights``.

    Raises:
        ValueError: an option or a start is wrong, or the data do not fit the model.

    Warns:
        ConvergenceWarning: the best start did not converge, or weights are unbounded.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> model = gh.GLMHMM(2, gh.Bernoulli())
        >>> result = gh.fit(model, data, num_restarts=2, progress=False)
        >>> result.decode(data).smoothed_probs.dims
        ('step', 'state')
    """
    if num_restarts < 1:
        raise ValueError(f"num_restarts must be at least 1, got {num_restarts}")
    engine = _engine(method, options)
    model = copy.deepcopy(model)
    model.bind(data)
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        starts = make_starts(model, data, num_restarts, init, init_noise, generator)
        runs = _run(engine, model, data, starts, progress)
    result = _checked(_result(model, data, runs), data)
    if result.status is not Status.CONVERGED:
        details = "; ".join((result.status.sentence,) + result.unbounded)
        warnings.warn(f"{details}. {_ADVICE[result.status]}", ConvergenceWarning, 2)
    return result


def _engine(method: str | EM, options: dict[str, Any]) -> EM:
    if isinstance(method, EM):
        if options:
            raise ValueError(
                f"options must be given to the method itself, got "
                f"{', '.join(options)}; write EM(...)"
            )
        return method
    if method != "em":
        raise ValueError(f"method must be 'em' or an EM(...), got {method!r}")
    known = EM.__dataclass_fields__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(
            f"options of 'em' must be among {', '.join(known)}, got {unknown[0]!r}"
        )
    return EM(**options)


def _run(
    engine: EM, model: GLMHMM, data: Sequences, starts: list, progress: bool
) -> list[Run]:
    """All starts, as many together as memory allows; fewer after an interrupt."""
    together = all(component.batched for component in model.components.values())
    size = data.num_steps * (model.num_states + 1) ** 2 * 8 * 4
    width = max(1, min(len(starts), _TABLE_BYTES // size)) if together else 1
    runs: list[Run] = []
    with tqdm(total=len(starts), desc="EM", unit="start", disable=not progress) as bar:
        for first in range(0, len(starts), width):
            runs += engine.run(
                model, data, starts[first : first + width], callback=_Show(bar, first)
            )
            bar.n = len(runs)
            if runs[-1].status is Status.INTERRUPTED:
                break
    return [run for run in runs if run.log_joints]


class _Show:
    """Callback that shows iteration and best log-joint on a bar."""

    def __init__(self, bar: Any, before: int):
        self.bar, self.before = bar, before

    def __call__(self, iteration: int, runs: Sequence[Run]) -> None:
        """Called after every E-step."""
        best = max(run.log_joints[-1] for run in runs)
        self.bar.n = self.before + sum(run.status is not None for run in runs)
        self.bar.set_postfix(
            iteration=iteration, log_joint=f"{best:.3f}", refresh=False
        )
        self.bar.update(0)


def _result(model: GLMHMM, data: Sequences, runs: list[Run]) -> Fit:
    if not runs:
        raise KeyboardInterrupt("interrupted before the first E-step")
    best = int(np.argmax([run.log_joints[-1] for run in runs]))
    kept = runs[best]
    return Fit(
        model=model,
        params=kept.params,
        log_likelihood=kept.log_likelihoods[-1],
        log_joint=kept.log_joints[-1],
        status=kept.status or Status.INTERRUPTED,
        restarts=tuple(
            Restart(
                np.array(run.log_likelihoods),
                np.array(run.log_joints),
                run.status or Status.INTERRUPTED,
            )
            for run in runs
        ),
        best=best,
        labels=Labels.of(data),
        weights=tuple(kept.weights),
    )


def _checked(result: Fit, data: Sequences) -> Fit:
    """The fit, with a status that says so if weights have no finite maximum."""
    found = unbounded_weights(result.model, data, result.distribution(data))
    if not found or result.status is Status.INTERRUPTED:
        return result
    return replace(result, status=Status.UNBOUNDED, unbounded=found)

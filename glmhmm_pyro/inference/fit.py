"""Fit: what every inference method returns."""

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.labels import Labels, named_parameters
from glmhmm_pyro.inference.posterior import Posterior
from glmhmm_pyro.inference.program import Observed, observed_sites
from glmhmm_pyro.inference.search import seeded
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.storage import describe, read, rebuild, tensors, write
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Restarts whose log-joints are this close, in nats, are said to agree.
AGREEMENT = 0.1


@dataclass(frozen=True)
class Restart:
    """How one start of a fit went.

    Attributes:
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        status: how it ended.
    """

    log_likelihoods: np.ndarray
    log_joints: np.ndarray
    status: Status


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted model.

    Attributes:
        model: the model, bound to the data.
        params: values of the sites by name, reference rows left out; the mean of the
            draws where there is a posterior.
        log_likelihood: marginal log-likelihood of the emissions, nats.
        log_joint: log-likelihood plus log prior density.
        status: how the fit ended.
        restarts: all starts, in their order; ``best`` is the number of the one kept.
        labels: names that the data gave to sessions, classes and covariates.
        method: name of the inference method.
        weights: parameters at every iteration of the best start, if they were kept.
        unbounded: sentences about weights without a finite maximum.
        num_parameters: number of free parameters, reference rows and sums to 1 left
            out.
        posterior: draws of the parameters, from methods that have any.
    """

    model: Any
    params: dict[str, Tensor]
    log_likelihood: float
    log_joint: float
    status: Status
    restarts: tuple[Restart, ...]
    best: int
    labels: Labels
    method: str = "em"
    weights: tuple[dict[str, Tensor], ...] = ()
    unbounded: tuple[str, ...] = ()
    num_parameters: int = 0
    posterior: Posterior | None = None

    def __repr__(self) -> str:
        states = getattr(self.model, "num_states", None)
        what = "a model" if states is None else f"{states} states"
        return (
            f"Fit of {what} by {self.method}: log-likelihood "
            f"{self.log_likelihood:.4f} nats, {self.log_likelihood_per_step:.4f} per "
            f"step; {self.num_agreeing} of {len(self.restarts)} starts within "
            f"{AGREEMENT} nats of the best; {self.status.sentence}"
        )

    @property
    def parameters(self) -> "dict[str, xr.DataArray]":
        """Parameters with reference rows in place and names on every axis."""
        return named_parameters(self.model, self.params, self.labels)

    @property
    def log_likelihood_per_step(self) -> float:
        """Log-likelihood over the number of observed steps, nats."""
        return self.log_likelihood / max(self.labels.num_observed, 1)

    @property
    def history(self) -> "pd.DataFrame":
        """log_likelihood and log_joint at every iteration of the best start."""
        import pandas as pd

        kept = self.restarts[self.best]
        columns = {"log_likelihood": kept.log_likelihoods, "log_joint": kept.log_joints}
        return pd.DataFrame(columns).rename_axis("iteration")

    @property
    def num_agreeing(self) -> int:
        """Number of starts that ended within 0.1 nats of the best, it included."""
        ends = np.array([restart.log_joints[-1] for restart in self.restarts])
        return int((ends >= ends.max() - AGREEMENT).sum())

    def restart_report(self) -> "pd.DataFrame":
        """One row a start, best first: where and how it ended, if it agrees."""
        import pandas as pd

        rows = [
            {
                "start": number,
                "log_joint": restart.log_joints[-1],
                "log_likelihood": restart.log_likelihoods[-1],
                "below_best": self.log_joint - restart.log_joints[-1],
                "iterations": len(restart.log_joints) - 1,
                "status": restart.status.name,
            }
            for number, restart in enumerate(self.restarts)
        ]
        frame = pd.DataFrame(rows).sort_values("below_best", kind="stable")
        frame["agrees"] = frame["below_best"] <= AGREEMENT
        return frame.reset_index(drop=True)

    def summary(self) -> "pd.DataFrame":
        """Every parameter on a row of its own: site, the names of its axes, value."""
        import pandas as pd

        frames = []
        for name, array in self.parameters.items():
            frame = array.rename("value").to_dataframe().reset_index()
            frame.insert(0, "parameter", name)
            frames.append(frame)
        table = pd.concat(frames, ignore_index=True)
        table.insert(len(table.columns) - 1, "value", table.pop("value"))
        return table.astype({c: object for c in table.columns[1:-1]}).fillna("")

    def distribution(self, data: Any, site: str | None = None) -> HiddenMarkov:
        """The distribution of the emissions of ``data`` at the fitted parameters.

        Args:
            data: as the model takes it.
            site: name of the ``HiddenMarkov`` site, where a model has several.
        """
        return self._observed(data, site).hidden

    def _observed(self, data: Any, site: str | None) -> Observed:
        with torch.no_grad():
            sites = observed_sites(self.model, data, self.params)
        if site is None and len(sites) == 1:
            return next(iter(sites.values()))
        if site not in sites:
            raise ValueError(
                f"site must name a HiddenMarkov site of the model, {', '.join(sites)}, "
                f"got {site!r}"
            )
        return sites[site]

    def decode(self, data: Any, site: str | None = None) -> "xr.Dataset":
        """Probabilities of the states at every step, and their most probable path.

        Args:
            data: as the model takes it.
            site: name of the ``HiddenMarkov`` site, where a model has several.

        Returns:
            Variables ``filtered_probs`` p(z_t | y_0..t), ``predicted_probs``
            p(z_t | y_0..t-1), ``smoothed_probs`` p(z_t | y) (step, state),
            ``viterbi_states`` and ``log_prob_per_step`` (step); coordinates ``session``
            and ``state``.
        """
        hidden, y = self._observed(data, site)
        by_state, by_step = ("step", "state"), ("step",)
        with torch.no_grad():
            return by_step_dataset(
                hidden,
                data,
                filtered_probs=(by_state, hidden.filtered_probs(y)),
                predicted_probs=(by_state, hidden.predicted_probs(y)),
                smoothed_probs=(by_state, hidden.smoothed_probs(y)),
                viterbi_states=(by_step, hidden.viterbi_states(y)),
                log_prob_per_step=(by_step, hidden.log_prob_per_step(y)),
            )

    def sample_states(
        self, data: Any, num_samples: int = 1, seed: int = 0, site: str | None = None
    ) -> np.ndarray:
        """Paths of states drawn from p(z | y), shape (num_samples, steps)."""
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        hidden, y = self._observed(data, site)
        generator = torch.Generator(device=y.device).manual_seed(seed)
        with torch.no_grad():
            paths = hidden.sample_states(y, num_samples, generator)
        return paths.cpu().numpy()

    def predict(self, data: Any, site: str | None = None) -> "xr.DataArray":
        """One-step prediction of the emissions from the earlier ones of the session.

        Returns:
            p(y_t = c | y_0..t-1) (step, class) for labels; for other families the
            expected emission (step, ...).
        """
        hidden, y = self._observed(data, site)
        with torch.no_grad():
            states = hidden.predicted_probs(y)
            values = hidden.expected_emission(states)
        is_labels = hidden.emission_dist.has_enumerate_support
        extra = [f"output_{i}" for i in range(values.dim() - 1)]
        dims = ("step", "class") if is_labels else ("step", *extra)
        coords = self.labels.coords("emissions", dims[1:], tuple(values.shape[1:]))
        predicted = by_step_dataset(hidden, data, predicted=(dims, values))["predicted"]
        return predicted.assign_coords(coords)

    def simulate(self, data: Sequences, seed: int = 0) -> tuple[Sequences, np.ndarray]:
        """Emissions and states drawn at the covariates of ``data`` (open loop).

        Columns that were made from the animal's past emissions stay as they are.

        Returns:
            ``data`` with emissions drawn anew, all of them observed; states (steps,).
        """
        if not isinstance(data, Sequences):
            raise TypeError(
                f"data must be a Sequences to be simulated, got {type(data).__name__}; "
                "take fit.distribution(data, site).sample_with_states()"
            )
        with seeded(seed), torch.no_grad():
            emissions, states = self.distribution(data).sample_with_states()
        if data.is_integer:
            emissions = emissions.to(data.emissions.dtype)
        return data.replace(emissions=emissions, mask=None), states.cpu().numpy()

    def score(self, data: Any) -> float:
        """Log-likelihood of ``data`` per observed step, nats."""
        with torch.no_grad():
            sites = observed_sites(self.model, data, self.params).values()
            total = sum(float(s.hidden.log_prob(s.value)) for s in sites)
        return total / sum(s.hidden.num_observed for s in sites)

    def save(self, path: str | PathLike) -> None:
        """Write an open file (netCDF 4), which :func:`glmhmm_pyro.load` reads."""
        arrays: dict[str, Any] = {
            f"param:{name}": value for name, value in self.params.items()
        }
        for name in self.params if self.weights else ():
            arrays[f"weights:{name}"] = torch.stack([w[name] for w in self.weights])
        for i, restart in enumerate(self.restarts):
            arrays[f"restart:{i}:log_likelihoods"] = restart.log_likelihoods
            arrays[f"restart:{i}:log_joints"] = restart.log_joints
        facts = {
            "model": describe(self.model),
            "labels": self.labels.to_dict(),
            "restarts": [restart.status.name for restart in self.restarts],
            "status": self.status.name,
            "unbounded": list(self.unbounded),
            "best": self.best,
            "method": self.method,
            "log_likelihood": self.log_likelihood,
            "log_joint": self.log_joint,
            "num_parameters": self.num_parameters,
        }
        write(path, arrays, facts)

    @classmethod
    def load(cls, path: str | PathLike, model: GLMHMM | None = None) -> "Fit":
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Args:
            path: the file.
            model: the model that was fitted, needed only if it has components or priors
                of the user's own.
        """
        arrays, facts = read(path)
        restarts = tuple(
            Restart(
                arrays[f"restart:{i}:log_likelihoods"],
                arrays[f"restart:{i}:log_joints"],
                Status[name],
            )
            for i, name in enumerate(facts["restarts"])
        )
        histories = tensors(arrays, "weights:")
        length = len(next(iter(histories.values()))) if histories else 0
        return cls(
            model=rebuild(facts["model"], model),
            params=tensors(arrays, "param:"),
            log_likelihood=facts["log_likelihood"],
            log_joint=facts["log_joint"],
            status=Status[facts["status"]],
            restarts=restarts,
            best=facts["best"],
            labels=Labels.from_dict(facts["labels"]),
            method=facts["method"],
            weights=tuple(
                {name: value[i] for name, value in histories.items()}
                for i in range(length)
            ),
            unbounded=tuple(facts["unbounded"]),
            num_parameters=facts["num_parameters"],
        )


def by_step_dataset(hidden: HiddenMarkov, data: Any, **variables: Any) -> "xr.Dataset":
    """Variables with a step axis, each step labelled with its session."""
    import xarray as xr

    names = np.arange(len(hidden.lengths)).astype(str).astype(object)
    if isinstance(data, Sequences) and data.num_sessions == len(names):
        names = np.array(data.session_names, dtype=object)
    sessions = np.repeat(names, hidden.lengths.cpu().numpy())
    arrays = {k: (dims, v.cpu().numpy()) for k, (dims, v) in variables.items()}
    coords = {"session": ("step", sessions)}
    return xr.Dataset(arrays, coords=coords).assign_coords(
        step=np.arange(len(sessions))
    )

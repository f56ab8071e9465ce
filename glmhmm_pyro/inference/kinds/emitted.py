"""Second derivatives of models whose emissions alone are left to torch.

A graph of a whole chain is passed over once for every parameter. Here transitions and
first states are the package's own softmaxes, whose scores are known. Those of the
emissions are taken from torch, given the state, and both go through the one pass of
:mod:`glmhmm_pyro.inference.steps.scores`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain.passes import Passes
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.inference.kinds.chained import curvature_by_vector
from glmhmm_pyro.inference.program.coordinates import Coordinates, Params
from glmhmm_pyro.inference.program.evaluated import Curvature
from glmhmm_pyro.inference.steps.scores import Emitted, scores_at
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed

# Numbers of scores that memory is asked for: 256 MiB.
_MOST = 2**25


class EmittedCurvature:
    """Second derivatives of the log-likelihood at points of the unconstrained vector.

    Args:
        model: bound to the data.
        data: the data set.
        tables: of first states and transitions.
        coordinates: of all sites.
        log_prior: log density of the priors at values.
    """

    def __init__(
        self,
        model: GLMHMM,
        data: Sequences,
        tables: dict[str, LogTable],
        coordinates: Coordinates,
        log_prior: Callable[[Params], Tensor],
    ):
        self.model, self.data, self.tables = model, data, tables
        self.coordinates, self.log_prior = coordinates, log_prior
        numbers = torch.arange(coordinates.size)
        own = [n for n in coordinates.slices if n.startswith("emissions.")]
        pieces = [numbers[coordinates.slices[name]] for name in own]
        self.place = torch.cat([numbers[:0], *pieces])

    def __call__(self, vector: Tensor) -> Curvature | None:
        """What ``Program.known_curvature`` returns.

        ``None`` where torch does not differentiate emissions twice, or transitions are
        no softmaxes.
        """
        try:
            return self._found(vector)
        except RuntimeError:
            return None

    def _found(self, vector: Tensor) -> Curvature | None:
        with torch.enable_grad():
            own = vector[self.place].requires_grad_()
            moved = vector.index_put((self.place,), own)
            params = self.coordinates.unpack(moved)
            logs = self._logs(params)
        with np.errstate(all="ignore"):
            first, moves = self._tabled(params)
        begun, moved_by = (table.softmaxes() for table in self.tables.values())
        if begun is None or moved_by is None:
            return None
        potentials = [first, moves, logs.detach().numpy()]
        out = np.empty_like(first), np.empty_like(moves), np.empty_like(potentials[2])
        lengths, weights = self.data.lengths, self.data.session_weights
        passes = Passes(out, lengths, weights)
        passes(first, moves, potentials[2])
        known = _derivatives(logs, own, torch.from_numpy(passes.emission))
        if known is None:
            return None
        emitted, expected = known
        scores = scores_at(begun, moved_by, emitted, potentials, passes)
        found = curvature_by_vector(self.coordinates, self.log_prior, scores, vector)
        found.matrix[self.place[:, None], self.place] += expected
        return found

    def _logs(self, params: Params) -> Tensor:
        """log p(y_t | z_t = k), shape (steps, states)."""
        emissions, data = self.model.emissions, self.data
        with self.model.at(params), zeros_allowed(emissions):
            law = emissions.table(emissions.factors(data))
        logs = emission_log_probs(law, data.emissions, data.mask)
        return logs.to(torch.float64).contiguous()

    def _tabled(self, params: Params) -> list[np.ndarray]:
        """Potentials of first states and transitions."""
        found = []
        for part, table in self.tables.items():
            names = [n for n in params if n.startswith(f"{part}.")]
            values = {
                name.removeprefix(f"{part}."): params[name].detach().numpy()
                for name in names
            }
            found.append(table(values))
        return found


def _derivatives(
    logs: Tensor, own: Tensor, counts: Tensor
) -> tuple[Emitted, Tensor] | None:
    """Scores of the emissions, and their expected second derivatives.

    ``None`` where some are no numbers, or torch does not know them.

    Args:
        logs: log-probabilities of the emissions, shape (steps, states).
        own: the numbers that they are a function of, shape (numbers,).
        counts: how often every state is expected at every step, as ``logs``.
    """
    scores = np.zeros((*logs.shape, len(own)))
    expected = counts.new_zeros(len(own), len(own))
    weights = counts.clone().requires_grad_()
    if logs.requires_grad and len(own):
        with torch.enable_grad():
            total = (logs * weights).sum()
            (slopes,) = torch.autograd.grad(total, own, create_graph=True)
        for number, slope in enumerate(slopes):
            by_weight, by_own = torch.autograd.grad(
                slope,
                (weights, own),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            scores[..., number], expected[number] = by_weight.numpy(), by_own
        # They are linear in the counts, unless a part hides what it was made of.
        again = np.einsum("tk,tkn->n", counts.numpy(), scores)
        if not np.allclose(again, slopes.detach().numpy(), rtol=1e-6, equal_nan=True):
            return None
    if not np.isfinite(scores).all() or not expected.isfinite().all():
        return None
    return Emitted(scores), expected


def emitted_curvature(
    model: GLMHMM,
    data: Sequences,
    coordinates: Coordinates,
    log_prior: Callable[[Params], Tensor],
) -> EmittedCurvature | None:
    """The second derivatives, where first states and transitions have tables.

    Args:
        model: bound to the data.
        data: the data set.
        coordinates: of all sites, with priors that are fixed.
        log_prior: log density of the priors at values.
    """
    as_here = is_as_defined(model, GLMHMM, "forward", "hidden_markov", "_hidden_markov")
    if not as_here or data.device.type != "cpu" or data.dtype != torch.float64:
        return None
    is_plain = (
        model.transitions.emits is None and model.transitions.goes_on(data) is None
    )
    if not model.separates or not is_plain:
        return None
    tables = {n: getattr(model, n).log_table(data) for n in ("initial", "transitions")}
    if None in tables.values():
        return None
    found = EmittedCurvature(model, data, tables, coordinates, log_prior)
    numbers = data.num_steps * model.num_states * len(found.place)
    return found if numbers <= _MOST else None

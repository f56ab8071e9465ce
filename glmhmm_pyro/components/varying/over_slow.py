"""Emissions of every pair of states whose weights are pooled over slow states."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Normal
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emissions import GLMEmission
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.varying.kinds import VaryingEmission
from glmhmm_pyro.components.varying.pair_tables import labels_of_pairs
from glmhmm_pyro.components.varying.unit_laws import CONSTANT, WEIGHTS
from glmhmm_pyro.components.varying.units import SLOW, Units
from glmhmm_pyro.components.varying.varies import at_state
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import Members

# How far weights of a fit that is a place to start from may be from those of the fast
# state, and weights that are the same there, in units of one over a covariate's size.
_NEAR, _ALIKE = 0.5, 2.0**-6


@suggests_names
class VaryingOverSlow(VaryingEmission):
    r"""Emissions whose weights vary over slow states; see :func:`Varying`.

    .. math:: y_t \mid s_t = j, f_t = b \sim \text{family}(w_{jb}), \quad
        w_{jb} \sim N(m_b, \sigma^2)

    Its states are fast ones, which have the means and what parameters the family has
    beside weights; the units are the slow states. A step belongs to a unit by its
    state, not by its session, so that units are not independent given the weights, and
    other data have the same units.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import Levels, Varying
        >>> family = Varying(gh.Bernoulli(), over="slow", law="pooled")
        >>> model = gh.GLMHMM(Levels(slow=2, fast=3), family)
        >>> model.bind(gh.Sequences([0, 1, 1, 0]))
        >>> model.components["emissions"].shape("weights")
        torch.Size([2, 3, 1])
    """

    # Slow states are few: of a scale for each fast state they would say little.
    own_scales = ("covariate",)
    known_units = (SLOW,)

    @property
    def random_effects(self) -> tuple[str, ...]:
        """The weights of all pairs."""
        return (WEIGHTS,)

    @property
    def num_slow(self) -> int:
        """Number of slow states.

        Raises:
            ValueError: the model has a single level.
        """
        if self.own_states is None:
            raise ValueError(
                "num_states must be Levels for weights that vary over slow states, got "
                f"{self.num_states}; write GLMHMM(Levels(slow=2, fast=2), ...)"
            )
        return self.own_states.sizes["slow"]

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the slow states."""
        return {**super().sizes(), "slow": self.num_slow}

    def _bind_units(self, data: Sequences) -> None:
        self.units = Units.of_states(self.num_slow, data.device)

    def bind_blocks(self, data: Sequences) -> None:
        """None: a law links all blocks."""

    def unlinked(self, data: Sequences, params: Mapping[str, Tensor]) -> GLMEmission:
        """The family by pair, whose weights are near those of the fast state.

        If it is the weights alone that tell slow states apart, a fit in which these
        share them, as :meth:`nested` does, knows nothing of them.

        Args:
            data: the component is bound to them.
            params: values of its sites at which all slow states are alike.
        """
        family: GLMEmission = self.nested()
        site, varying = family.sites[WEIGHTS], self.places[0]
        centre = params[WEIGHTS].new_zeros(self.inner.shape(WEIGHTS))
        centre[..., varying] = params[WEIGHTS][0]
        if self.constant:
            centre[..., self.places[1]] = params[CONSTANT]
        units = self.inner.start_noise(WEIGHTS, data)
        near = _ALIKE * torch.as_tensor(units).to(centre).expand(centre.shape)
        near = near.clone()
        known = self.link.scales["scale"]
        near[..., varying] *= _NEAR / _ALIKE
        if not known.is_learnt:
            near[..., varying] = known.at(None, self.unit_axes).to(centre)
        by_pair = (self.num_slow, *(1 for _ in centre.shape[1:]))
        prior = Normal(centre.repeat(by_pair), near.repeat(by_pair))
        family.weights = Site(*site.declared, prior=prior)
        return family

    def spread_out(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values at which pairs have the weights of a fit by fast state, or by pair.

        Args:
            params: of the family, by attribute.
        """
        if len(params[WEIGHTS]) == self._num_fast:
            return super().spread_out(params)
        by_slow = {
            name: (
                value.unflatten(0, (self.num_slow, self._num_fast))
                if self.family.sites[name].axes[:1] == ("state",)
                else value.expand(self.num_slow, *value.shape)
            )
            for name, value in params.items()
            if name in self.family.sites
        }
        found = super().spread_out({n: v.mean(0) for n, v in by_slow.items()})
        return found | {WEIGHTS: by_slow[WEIGHTS][..., self.places[0]]}

    def carry(
        self, data: Sequences, fitted: Members, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Nothing: slow states are the same in all data."""
        return {}

    # What steps read: their covariates alone.

    @property
    def num_entries(self) -> int:
        """No column of entries: states say which unit a step belongs to."""
        return 0

    def entries(self, data: Sequences) -> Tensor:
        """None, (steps, 0)."""
        return torch.zeros(data.num_steps, 0, dtype=torch.long, device=data.device)

    def inputs(self, data: Sequences) -> Tensor:
        """What ``forward`` reads of a step: its covariates."""
        return self.design(data)

    def factors(self, data: Sequences) -> DesignMatrix:
        """What a table of all steps reads: the same, as an operator."""
        return self.operator(data)

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """The family's distribution at linear predictors of pairs of states."""
        leading = covariates.dim() - 1
        predictor = at_state(self._predictors(covariates), state, leading)
        fast, others = state % self._num_fast, {}
        for name, value, _, _, by_state in self._other_parameters(covariates):
            others[name] = value[fast] if by_state else value
        return self.distribution(predictor, **others)

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> Distribution:
        """Batch of distributions, batch shape (steps, pairs)."""
        scores, others = self._predictors(design), {}
        fast = torch.arange(scores.shape[1], device=scores.device) % self._num_fast
        for name, value, _, _, by_state in self._other_parameters(scores):
            others[name] = value[fast] if by_state else value
        return self.distribution(scores, **others)

    def log_table(self, data: Sequences) -> LogTable | None:
        """That of a family of labels, by the weights of every pair."""
        return labels_of_pairs(self, data)

    @property
    def _num_fast(self) -> int:
        return len(self.all_states(torch.device("cpu")))

    def _predictors(self, design: Any) -> Tensor:
        """Linear predictors of all pairs, (*rows, pairs, *outputs)."""
        rows = self.whole_weights().to(design.dtype).flatten(0, 1)
        scores: Tensor = design @ rows.flatten(0, -2).mT
        return scores.unflatten(-1, rows.shape[:-1])

    def whole_weights(self) -> Tensor:
        """Weights of all covariates, (slow, fast, *outputs, features)."""
        weights = self.weights
        if not self.constant:
            return weights
        fixed = self.constant_weights.expand(*weights.shape[:-1], -1)
        varying, same = self.places
        order = torch.tensor([*varying, *same], device=weights.device).argsort()
        return torch.cat([weights, fixed], -1)[..., order]

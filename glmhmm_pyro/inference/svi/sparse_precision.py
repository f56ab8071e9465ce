r"""A normal guide whose precision links each unit to the next, and to no other.

Its vectors are

.. math:: v = \mu_v + R z_v, \qquad w = \mu_w + L^{-\top} z_w - A (v - \mu_v)

of the units' weights w and the parameters v, with z white noise, L block-bidiagonal and
R triangular: the precision of w given v is the block-tridiagonal L L', as that of the
posterior is but for the states, and its entropy is that of z less log det L plus log
det R. A draw and its slopes cost in proportion to the number of units (Tan & Nott 2018,
Statistics and Computing 28:259; Archer et al. 2015, arXiv:1511.07367).

The log density of a draw is differentiated by the draw alone, not by the parameters:
what is left out is 0 on average, and without it slopes have no noise where the guide is
the posterior (Roeder, Wu & Duvenaud 2017, NeurIPS 30).
"""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from glmhmm_pyro.banded import Bordered, CholeskyFactor
from glmhmm_pyro.inference.curvature.round_scales import BorderedScale, scale_by_units
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program

_NOISE = "_sparse_precision_noise"


class SparsePrecisionGuide(PyroModule):
    """The guide at Laplace's approximation, ready to be fitted.

    Its parameters are in units of that: means in its standard deviations, rows of L in
    the root of their own precision, so that one learning rate serves all.

    Args:
        program: the model with its data, of which a law links weights of units.
        params: where it begins.
    """

    def __init__(self, program: Program, params: Params):
        super().__init__()
        vector = program.coordinates.pack(params)
        start = _beginning(program, vector)
        inside: Any = start.root.inside
        solved, read = start.root.solved, start.is_read.to(vector)
        roots, links = inside
        per_row = (roots.square().sum(-1) + links.square().sum(-1)).sqrt()
        width = start.root.spread.norm(dim=-1)[:, None, None]
        by_unit = read.unsqueeze(-1) * read.unsqueeze(-2)
        before = read.unsqueeze(-1) * read.roll(1, 0).unsqueeze(-2)
        self.program, self.start, self.vector = program, start, vector
        self.read, self.masks = read, (by_unit.tril(-1), before)
        self.units = per_row.unsqueeze(-1), 1 / (per_row * width)
        number = len(start.parts.places)
        relative = roots / self.units[0]
        self.mean = nn.Parameter(torch.zeros_like(vector))
        self.log_diagonal = nn.Parameter(roots.diagonal(dim1=-2, dim2=-1).log())
        self.below = nn.Parameter(relative * self.masks[0])
        self.links = nn.Parameter(links / self.units[0])
        self.taken = nn.Parameter(solved / self.units[1])
        self.spread = nn.Parameter(vector.new_zeros(number, number))

    def forward(self, data: Any) -> dict[str, Tensor]:
        """Draw the values of all sites."""
        number = len(self.vector)
        white = dist.Normal(self.vector.new_zeros(number), 1.0).to_event(1)
        noise = pyro.sample(_NOISE, white, infer={"is_auxiliary": True})
        scale = self.scale()
        mean = self.vector + self.mean @ self.start.T
        vector = mean + noise @ scale.T
        params, gain = self.program.coordinates.unpack_with_jacobian(vector)
        found = scale.detached.solved(vector - mean.detach())
        squares = found.square().sum() - noise.square().sum()
        log_density = -squares / 2 - scale.log_volume.detach() - gain
        for name, value in params.items():
            point = dist.Delta(value, log_density, event_dim=value.dim())
            pyro.sample(name, point)
            log_density = torch.zeros_like(log_density)
        return params

    def scale(self) -> BorderedScale:
        """The root of the covariance."""
        diagonal = (self.log_diagonal * self.read).exp()
        roots = diagonal.diag_embed() + self.units[0] * self.below * self.masks[0]
        links = self.units[0] * self.links * self.masks[1]
        log_widths = self.spread.diagonal()
        spread = self.spread.tril(-1) + log_widths.exp().diag_embed()
        inside, solved = CholeskyFactor(roots, links), self.taken * self.units[1]
        root = Bordered(inside, solved, self.start.root.spread @ spread)
        return self.start._replace(root=root)


def _beginning(program: Program, vector: Tensor) -> BorderedScale:
    """Laplace's approximation at a vector.

    Raises:
        ValueError: no law links units, or states do besides.
    """
    found = scale_by_units(program, vector)
    if found is None or not isinstance(found.root.inside, CholeskyFactor):
        raise ValueError(
            "guide must not be 'sparse_precision' for a model in which no law links "
            "weights of units, one after another, got one with the sites "
            f"{', '.join(program.priors)}; write guide='multivariate_normal', or let "
            "weights vary by gh.Varying, not through states that go on across sessions"
        )
    return found

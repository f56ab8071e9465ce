"""The same data and priors in other units, and what that makes of parameters.

All is told by definition. A covariate a (x + b) has the weight w / a, and the constant
beside it b w less. An output c (y + d) has weights and scales c times as large, and the
constant c d more; one whose predictor is a logarithm, log c more.
"""

from dataclasses import dataclass

import torch
from families import normals, seeded_generator
from torch.distributions import LogNormal, MultivariateNormal

import glmhmm_pyro as gh

LENGTHS = (25, 20, 1, 24)
LINEAR = ("gaussian", "full", "heavy-tailed")
SPREAD = 2.0


def log(number):
    return torch.tensor(number, dtype=torch.float64).log()


@dataclass(frozen=True)
class Change:
    """New units: a (x + b) of covariates but constants, c (y + d) of outputs.

    Args:
        scale: a; 1 / a of transition covariates.
        shift: b.
        outputs: c, of outputs that are measured.
        level: d, of those that may be negative.
    """

    scale: float = 1.0
    shift: float = 0.0
    outputs: float = 1.0
    level: float = 0.0

    def data(self, data, family):
        """The data in the new units."""
        y = data.emissions
        if y.is_floating_point():
            y = self.outputs * (y + (self.level if family in LINEAR else 0.0))
        return gh.Sequences(
            y,
            self._design(data.covariates, self.scale),
            lengths=data.lengths,
            transition_covariates=self._design(
                data.transition_covariates, 1 / self.scale
            ),
            initial_covariates=self._design(data.initial_covariates, self.scale),
            mask=data.mask,
        )

    def _design(self, design, scale):
        return torch.cat([scale * (design[:, :-1] + self.shift), design[:, -1:]], 1)

    def log_density(self, data):
        """What is added to the log density of all emissions."""
        if not data.emissions.is_floating_point():
            return 0.0
        return -data.emissions.numel() * log(self.outputs).item()

    def weights(self, component, family):
        """Factors of slopes and constants in the new units, and what constants gain."""
        scale = 1 / self.scale if component == "transitions" else self.scale
        outputs, gain = 1.0, 0.0
        if component == "emissions" and family in LINEAR:
            outputs, gain = self.outputs, self.outputs * self.level
        elif component == "emissions" and family == "positive":
            gain = log(self.outputs).item()
        return outputs / scale, outputs, gain

    def jacobian(self, component, family):
        """Derivatives of weights in the new units by those in the old ones."""
        slope, constant, _ = self.weights(component, family)
        rows = [[slope, 0.0], [-self.shift * constant, constant]]
        return torch.tensor(rows, dtype=torch.float64)

    def back(self, params, family):
        """Values in the old units from those in the new ones."""
        found = dict(params)
        for name, value in params.items():
            if name.endswith("weights"):
                component = name.split(".")[0]
                slope, factor, gain = self.weights(component, family)
                slopes = value[..., :1] / slope
                constants = (value[..., 1:] - gain) / factor + self.shift * slopes
                found[name] = torch.cat([slopes, constants], -1)
            elif name == "emissions.scale":
                found[name] = value / self.outputs
        return found

    def prior(self, component, family=""):
        """That of weights which are independent normals in the old units."""
        gain = self.weights(component, family)[2]
        mean = torch.tensor([0.0, gain], dtype=torch.float64)
        root = SPREAD * self.jacobian(component, family)
        return MultivariateNormal(mean, scale_tril=root)


def model_of(family, change, num_states=2):
    """A model whose priors are the same in all units."""
    own = {"prior": change.prior("emissions", family)}
    scale = {"scale_prior": LogNormal(log(change.outputs) - 0.5, log(2.0))}
    emissions = {
        "bernoulli": lambda: gh.Bernoulli(**own),
        "gaussian": lambda: gh.Gaussian(**own, **scale),
        "full": lambda: gh.Gaussian(2, "full"),
        "heavy-tailed": lambda: gh.components.StudentT(
            **own, **scale, df_prior=LogNormal(1.5, 0.5)
        ),
        "positive": lambda: gh.components.Gamma(
            **own, concentration_prior=LogNormal(1.0, 1.0)
        ),
    }
    return gh.GLMHMM(
        num_states,
        emissions[family](),
        gh.InputDriven(prior=change.prior("transitions")),
        gh.InitialGLM(prior=change.prior("initial")),
    )


def data_of(family, seed=0):
    """Two clear states; the last column of every design is constant."""
    steps = sum(LENGTHS)
    uniform = torch.rand((2, steps), generator=seeded_generator(seed)).double()
    states = (uniform[0] < 0.15).cumsum(0) % 2
    x, noise = normals(steps, seed=seed + 1), normals(2, steps, seed=seed + 2)
    drive = torch.where(states == 1, 1.5 * x + 1.5, -x - 1.0)
    y = {
        "bernoulli": lambda: (uniform[1] < drive.sigmoid()).long(),
        "gaussian": lambda: drive + 0.5 * noise[0],
        "full": lambda: torch.stack([drive + noise[0] / 2, drive + noise.sum(0)], 1),
        "heavy-tailed": lambda: drive + 0.3 * noise[0] / noise[1].abs().clamp(min=0.2),
        "positive": lambda: (0.7 * drive + 0.4 * noise[0]).exp(),
    }

    def with_constant(column):
        return torch.stack([column, torch.ones_like(column)], 1)

    return gh.Sequences(
        y[family](),
        with_constant(x),
        lengths=list(LENGTHS),
        transition_covariates=with_constant(normals(steps, seed=seed + 3)),
        initial_covariates=with_constant(normals(len(LENGTHS), seed=seed + 4)),
    )

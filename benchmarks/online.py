"""How long a fit that follows an experiment takes for one step.

    python benchmarks/online.py

Medians over 5000 steps after 500 of warm-up, microseconds, of ``update`` (the filtered
states) and of ``predict`` and ``update`` together; three states, four covariates or a
design. On a machine of two cores, beside other work:

                                  update      both
    Bernoulli, stationary             27        47
    Bernoulli, input-driven           32        58
    Categorical(4)                    31        54
    Poisson                           28        41
    Gaussian                          27        41
    Gamma                             28        42
    StudentT                          29        45
    NegativeBinomial                  44        62
    Lapsing                           29        50
    Gaussian, 2 correlated            37        54
    design of 3 columns               38        68
    design of 24 columns              49        84
    400 draws                        180       348
"""

import time

import numpy as np
import pandas as pd
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    Design,
    Intercept,
    Lags,
    PreviousChoice,
    Signed,
    Standardised,
    WinStayLoseSwitch,
)
from glmhmm_pyro.inference import Posterior
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.program.program import Program

WARM_UP, STEPS = 500, 5000


def trials(steps: int = WARM_UP + STEPS) -> pd.DataFrame:
    """One long session of choices with columns to make covariates of."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "stim": rng.normal(size=steps),
            "reward": rng.integers(0, 2, steps),
            "choice": rng.integers(0, 2, steps),
        }
    )


def covariates(emissions: np.ndarray) -> gh.Sequences:
    """The same session of other behaviour, with four covariates."""
    x = np.random.default_rng(1).normal(size=(len(emissions), 4))
    return gh.Sequences(emissions, x)


def random_fit(model: gh.GLMHMM, data: gh.Sequences) -> gh.Fit:
    """A fit at random parameters."""
    program = Program.of(model, data)
    generator = torch.Generator().manual_seed(0)
    size = program.coordinates.size
    free = 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    return fit_at(model, data, program.coordinates.unpack(free), "benchmark")


def with_draws(fit: gh.Fit, number: int) -> gh.Fit:
    """The fit with so many draws."""
    draws = {n: v.expand(1, number, *v.shape).clone() for n, v in fit.params.items()}
    fields = {**vars(fit), "posterior": Posterior(draws)}
    return gh.Fit(**fields)


Case = tuple[gh.Fit, gh.Sequences | None, list, list]


def cases() -> dict[str, Case]:
    """Fits to follow, the data whose design is to be made, rows and behaviour."""
    frame = trials()
    rows = frame.to_dict("records")
    short = Design("stim", PreviousChoice("choice"), Intercept())
    long = Design(
        Standardised("stim"),
        PreviousChoice("choice"),
        WinStayLoseSwitch("choice", reward="reward"),
        Lags(Signed("choice"), 10, first_lag=1),
        Lags("stim", 10, name="past"),
        Intercept(),
    )
    options = {"session": None, "emissions": "choice"}
    few, many = (d.sequences(frame, **options) for d in (short, long))
    rng = np.random.default_rng(2)
    y = frame["choice"].to_numpy()
    given = covariates(y)
    plain = random_fit(gh.GLMHMM(3, gh.Bernoulli(), gh.InputDriven()), given)
    x = list(given.covariates.numpy())

    def made(family: gh.Emission, behaviour: np.ndarray) -> Case:
        data = covariates(behaviour)
        return random_fit(gh.GLMHMM(3, family), data), None, x, behaviour.tolist()

    return {
        "Bernoulli, stationary": made(gh.Bernoulli(), y),
        "Bernoulli, input-driven": (plain, None, x, y.tolist()),
        "Categorical(4)": made(gh.Categorical(4), rng.integers(0, 4, len(y))),
        "Poisson": made(gh.Poisson(), rng.poisson(2.0, len(y))),
        "Gaussian": made(gh.Gaussian(), rng.normal(size=len(y))),
        "Gamma": made(gh.components.Gamma(), rng.gamma(2.0, size=len(y))),
        "StudentT": made(gh.components.StudentT(), rng.normal(size=len(y))),
        "NegativeBinomial": made(
            gh.components.NegativeBinomial(), rng.poisson(2.0, len(y))
        ),
        "Lapsing": made(gh.components.Lapsing(gh.Bernoulli()), y),
        "Gaussian, 2 correlated": made(
            gh.Gaussian(2, "full"), rng.normal(size=(len(y), 2))
        ),
        "design of 3 columns": (
            random_fit(gh.GLMHMM(3, gh.Bernoulli(), gh.InputDriven()), few),
            few,
            rows,
            y.tolist(),
        ),
        "design of 24 columns": (
            random_fit(gh.GLMHMM(3, gh.Bernoulli(), gh.InputDriven()), many),
            many,
            rows,
            y.tolist(),
        ),
        "400 draws": (with_draws(plain, 400), None, x, y.tolist()),
    }


def microseconds(
    fit: gh.Fit, data: gh.Sequences | None, rows: list, emissions: list
) -> list[float]:
    """Medians for ``update``, and for both."""
    online = fit.online(data)
    medians = []
    for both in (False, True):
        online.start()
        times = []
        for row, y in zip(rows, emissions):
            begin = time.perf_counter()
            if both:
                online.predict(row)
            online.update(row, y)
            times.append(time.perf_counter() - begin)
        medians.append(1e6 * float(np.median(times[WARM_UP:])))
    return medians


if __name__ == "__main__":
    print(f"{'':26}{'update':>10}{'both':>10}")
    for name, case in cases().items():
        alone, together = microseconds(*case)
        print(f"{name:26}{alone:10.0f}{together:10.0f}")

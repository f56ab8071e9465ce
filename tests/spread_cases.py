"""Fits over a process group: what each rank runs, as a process of its own.

    python spread_cases.py RANK FOLDER

Both ranks meet over a file in the folder and leave there what they have found.
"""

import sys
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.ranks import ALONE, ranks_of

# Sessions of the first of the two ranks, out of the twelve of all cases.
FIRST = 5

ONCE = {"num_restarts": 1}
RIDGE = gh.priors.Ridge(2.0)


def sessions(steps=30, seed=0):
    """Lengths, covariates far from 0, and predictors that change sign by state."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(steps // 2, 3 * steps // 2, 12)
    total = int(lengths.sum())
    columns = [rng.normal(2.0, 3.0, (total, 2)), np.ones((total, 1))]
    covariates = np.concatenate(columns, 1)
    states = np.repeat(rng.integers(0, 2, total // 15 + 1), 15)[:total]
    weights = np.array([[0.9, -0.4, 0.2], [-0.7, 0.3, 0.5]])
    return rng, lengths, covariates, (covariates * weights[states]).sum(1)


def choices(rng, predictors):
    return (rng.uniform(size=len(predictors)) < 1 / (1 + np.exp(-predictors))) * 1


def driven():
    """So many steps that the M-step looks at some of them alone for its metric."""
    rng, lengths, covariates, predictors = sessions(250)
    data = gh.Sequences(choices(rng, predictors), covariates, lengths=lengths)
    moves = gh.InputDriven(gh.priors.Ridge(1.0))
    return gh.GLMHMM(2, gh.Bernoulli(RIDGE), moves), data, "em", ONCE


def two_outputs():
    """Outputs in units far off, missing on the last rank alone."""
    rng, lengths, covariates, predictors = sessions()
    noise = rng.normal(size=(2, len(predictors)))
    outputs = np.stack([300 + 50 * predictors + 20 * noise[0], noise.sum(0)], 1)
    outputs[int(lengths[:FIRST].sum()) + np.arange(20), 1] = np.nan
    data = gh.Sequences(outputs, covariates, lengths=lengths)
    return gh.GLMHMM(2, gh.Gaussian(2, "full")), data, "em", ONCE


def first_states():
    """Covariates of first states, and transitions whose M-step is one problem."""
    rng, lengths, covariates, predictors = sessions()
    labels = choices(rng, predictors) + choices(rng, covariates[:, 1] - 2)
    first = rng.normal(size=(len(lengths), 1))
    data = gh.Sequences(
        labels, covariates, lengths=lengths, initial_covariates=first
    ).weighted(rng.uniform(0.5, 2.0, len(lengths)))
    moves = gh.SharedInputDriven(gh.priors.Ridge(1.0), covariates=["x0", "x1"])
    start = gh.InitialGLM(gh.priors.Ridge(1.0))
    model = gh.GLMHMM(2, gh.Categorical(3, RIDGE), moves, start)
    return model, data, "em", ONCE


def joint():
    """First states that follow from the transitions: one M-step of all parameters."""
    rng, lengths, covariates, predictors = sessions()
    counts = rng.poisson(np.exp(predictors.clip(-3, 2)))
    data = gh.Sequences(counts, covariates, lengths=lengths)
    start = gh.StationaryInitial()
    return gh.GLMHMM(2, gh.Poisson(RIDGE), initial=start), data, "em", ONCE


def several():
    """Families without a table: slopes by automatic differentiation."""
    rng, lengths, covariates, predictors = sessions()
    times = np.exp(0.2 * predictors + 0.3 * rng.normal(size=len(predictors)))
    heavy = predictors + rng.standard_t(3, len(predictors))
    counts = rng.negative_binomial(2, 0.3, len(predictors))
    data = gh.Sequences(
        np.stack([times, heavy, counts], 1),
        covariates,
        lengths=lengths,
        emission_names=["times", "heavy", "counts"],
    )
    families = gh.components
    outputs = gh.Outputs(
        times=families.Gamma(RIDGE),
        heavy=families.StudentT(RIDGE, df_prior=torch.distributions.Gamma(4.0, 1.0)),
        counts=families.NegativeBinomial(RIDGE),
    )
    return gh.GLMHMM(2, outputs), data, "map", ONCE


def with_priors(method="map", **options):
    """Priors of probabilities, which a start is made under too."""
    rng, lengths, covariates, predictors = sessions()
    data = gh.Sequences(choices(rng, predictors), covariates, lengths=lengths)
    first = gh.Initial(torch.distributions.Dirichlet(torch.tensor([3.0, 2.0])))
    moves = gh.Stationary(gh.priors.Sticky(stay=20, move=2))
    model = gh.GLMHMM(2, gh.Bernoulli(RIDGE), moves, first)
    return model, data, method, options or ONCE


def annealed():
    return with_priors("em", init="random", inverse_temperatures=[0.5, 0.8], **ONCE)


def approximated():
    return with_priors("laplace", num_samples=30, **ONCE)


def climbed():
    return with_priors("svi", num_steps=20, window=10, num_samples=10, **ONCE)


def searched():
    return with_priors("em", num_restarts=3)


def repeated():
    """Covariates of few kinds, of which each rank puts its own together."""
    rng, lengths, _, _ = sessions(300)
    levels = np.stack([rng.integers(-2, 3, lengths.sum()), np.ones(lengths.sum())], 1)
    labels = choices(rng, levels[:, 0] * 1.5 - 0.3)
    labels[::7] = 1 - labels[::7]
    data = gh.Sequences(labels, levels, lengths=lengths)
    return gh.GLMHMM(2, gh.Bernoulli(RIDGE)), data, "em", ONCE


GROUPS = ["a"] * 3 + ["b"] * 2 + ["c"] * 4 + ["d"] * 3


def across(method="em", **options):
    """Slow states that go on from session to session of a group."""
    rng, lengths, covariates, predictors = sessions()
    data = gh.Sequences(
        choices(rng, predictors), covariates, lengths=lengths, groups=GROUPS
    )
    moves = gh.components.TwoLevels(
        gh.InputDriven(gh.priors.Ridge(1.0)),
        gh.Stationary(gh.priors.Sticky(stay=4, move=2)),
        clock="session",
    )
    model = gh.GLMHMM(gh.components.Levels(2, 2), gh.Bernoulli(RIDGE), moves)
    return model, data, method, {**ONCE, **options}


CASES = {
    case.__name__: case
    for case in (
        driven,
        two_outputs,
        first_states,
        joint,
        several,
        with_priors,
        annealed,
        approximated,
        climbed,
        searched,
        repeated,
        across,
    )
}


def part_of(data, rank):
    """The sessions of a rank."""
    return data.subset(range(FIRST) if rank == 0 else range(FIRST, data.num_sessions))


def found(case, rank=None):
    """What a fit comes to, of all sessions in one process, or on a rank."""
    model, data, method, options = case()
    if rank is not None:
        data, options = part_of(data, rank), {**options, "process_group": "world"}
    fit = gh.fit(model, data, method, progress=False, **options)
    best, group = fit.restarts[fit.best], options.get("process_group")
    errors, bounds = {}, {}
    if fit.posterior is None:
        known = fit.standard_errors(data, process_group=group)
        errors = {name: torch.tensor(one.values) for name, one in known.items()}
    elif fit.posterior.elbo is not None:
        bounds = {"elbo": torch.from_numpy(fit.posterior.elbo)}
    return {
        "params": fit.params,
        "log_joints": best.log_joints,
        "log_likelihoods": best.log_likelihoods,
        "status": fit.status.name,
        "said": (fit.notes, fit.unbounded),
        "observed": fit.labels.num_observed,
        "errors": errors,
        "draws": {} if fit.posterior is None else fit.posterior.draws,
        "bounds": bounds,
        "baseline": fit.baseline.params,
        "starts": fit.restart_report()[["kind", "status", "solution"]].values.tolist(),
    }


# What goes wrong on both ranks, or on one.


def wrong_label(rank):
    model, data, _, _ = with_priors()
    part = part_of(data, rank)
    labels = part.emissions + 5 * rank
    return model, part.replace(emissions=labels)


def same_sessions(rank):
    model, data, _, _ = with_priors()
    return model, data.subset(range(FIRST + 1) if rank == 0 else range(FIRST, 12))


def other_models(rank):
    _, data, _, _ = with_priors()
    return gh.GLMHMM(2 + rank, gh.Bernoulli(RIDGE)), part_of(data, rank)


def other_columns(rank):
    model, data, _, _ = with_priors()
    part = part_of(data, rank)
    return model, part.replace(covariate_names=["a", "b", "cd"[rank]])


def groups_apart(rank):
    model, data, _, _ = across()
    return model, data.subset(range(4) if rank == 0 else range(4, 12))


WRONG = {
    case.__name__: case
    for case in (
        wrong_label,
        same_sessions,
        other_models,
        other_columns,
        groups_apart,
    )
}


def error_of(case, rank):
    """What a fit raises on a rank, in words."""
    model, data = case(rank)
    try:
        gh.fit(model, data, num_restarts=1, progress=False, process_group="world")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def derivatives(ranks, own):
    """Value, slope and second derivatives of a sum over rows, a prior beside it."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 3, generator=generator, dtype=torch.float64)[own]
    point = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    (shared,) = ranks.shared(point)
    value = ranks.summed((rows @ shared).exp().sum()) + point.pow(4).sum()
    (slope,) = torch.autograd.grad(value, point, create_graph=True)

    def along(direction):
        return torch.autograd.grad(slope, point, direction, retain_graph=True)[0]

    rows = torch.func.vmap(along)(torch.eye(3, dtype=torch.float64))
    return [part.detach() for part in (value, slope, rows)]


def whole_derivatives():
    return derivatives(ALONE, slice(None))


def main(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/met",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=240),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        left = {name: error_of(case, rank) for name, case in WRONG.items()}
        left |= {name: found(case, rank) for name, case in CASES.items()}
    ranks = ranks_of("world")
    left["derivatives"] = derivatives(ranks, slice(4) if rank == 0 else slice(4, 9))
    torch.save(left, Path(folder) / f"rank {rank}")
    # The last: one rank ends without a word.
    model, data, _, _ = with_priors()
    if rank == 0:
        said = error_of(lambda rank: (model, part_of(data, rank)), rank)
        torch.save(said, Path(folder) / "left alone")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

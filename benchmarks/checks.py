"""How often checks warn of nothing, and find what is there.

    python benchmarks/checks.py [--sets 100] [--planted 50]

Well-specified: two states of choices, of three classes, of counts and of numbers,
four sessions of 200 steps, one covariate and a constant, drawn at known parameters and
fitted by EM from there, under a weak prior; a report that warns is a false alarm, and
may be one in 20 at most. Planted: in data of that size each of the defects of
``PLANTED``, which its finding is to name in 9 of 10. Shares are printed with their
Monte Carlo standard errors, those of a share after one more of either outcome:

====================  ======================  ==========
planted               finding                 found (%)
====================  ======================  ==========
heavy tails           wrong-law               98 ± 3
memory                memory-left             100 ± 2
a curve               miscalibrated           100 ± 2
a drift               drift                   94 ± 4
an empty state        empty-states            100 ± 2
a state of 6 steps    vanishing-states        100 ± 2
a state twice         twin-states             100 ± 2
a state in phases     alike-states            100 ± 2
endless weights       unbounded-weights       100 ± 2
one switch            few-switches            100 ± 2
an idle column        rank-deficient-state    100 ± 2
zeros                 zero-columns            100 ± 2
a second constant     constant-twice          100 ± 2
a large unit          badly-scaled            100 ± 2
a far mean            far-from-zero           100 ± 2
a sum                 collinear               100 ± 2
nearly a sum          collinear               100 ± 2
an event that tells   separation              100 ± 2
a reward, driving     leak                    100 ± 2
a reward, weighted    leak                    100 ± 2
a ready-made history  leak                    100 ± 2
an unseen class       unseen-classes          100 ± 2
60 weights of moves   few-switches            100 ± 2
few slow switches     few-slow-switches       100 ± 2
a fast slow column    blurred-switches        100 ± 2
two free levels       free-levels             100 ± 2
====================  ======================  ==========

Of 400 well-specified fits 3 warned, 0.8 ± 0.5 %.
"""

import argparse
import time
import warnings

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels
from glmhmm_pyro.inference.fits.given import fit_at

LENGTHS = [200] * 4
STEPS = sum(LENGTHS)
START = {
    "initial.probs": [0.5, 0.5],
    "transitions.probs": [[0.95, 0.05], [0.05, 0.95]],
}
WEAK = gh.priors.Ridge(3.0)
TRUTHS = {
    "choices": (gh.Bernoulli(WEAK), {"emissions.weights": [[2.0, 1.0], [-0.5, -1.0]]}),
    "classes": (
        gh.Categorical(3, WEAK),
        {"emissions.weights": [[[1.0, 1], [0, -1]], [[0, -1], [-1, 2]]]},
    ),
    "counts": (gh.Poisson(WEAK), {"emissions.weights": [[0.3, 1.5], [0.3, 0.0]]}),
    "numbers": (
        gh.Gaussian(prior=WEAK),
        {"emissions.weights": [[1.0, 1.0], [0.5, -1.0]], "emissions.scale": [1.0, 0.5]},
    ),
}


def design(kind, seed):
    """Covariates of a data set, with emissions that only say of what kind they are."""
    x = np.random.default_rng([seed, 0]).normal(size=(STEPS, 1))
    x = np.column_stack([x, np.ones(STEPS)])
    labels = np.arange(STEPS) % (3 if kind == "classes" else 2)
    labels = labels + 0.5 if kind == "numbers" else labels
    return gh.Sequences(labels, x, lengths=LENGTHS, covariate_names=["x", "one"])


def at(model, data, params):
    """A model at these values, without a search."""
    values = {name: torch.tensor(v).double() for name, v in params.items()}
    return fit_at(model, data, values, "the truth")


def drawn_at(model, data, params, seed):
    """Data drawn at these values, and the states of its path."""
    return at(model, data, params).simulate(data, seed)


def drawn(kind, seed):
    """The same at the truth."""
    family, params = TRUTHS[kind]
    return drawn_at(gh.GLMHMM(2, family), design(kind, seed), {**START, **params}, seed)


def checked(family, data, params):
    """The report on a fit by EM from these values."""
    model = gh.GLMHMM(len(params["initial.probs"]), family)
    options = {"num_restarts": 1, "init": params, "init_noise": 0.0}
    return gh.fit(model, data, tol=1e-6, progress=False, **options).check(data)


def from_the_truth(kind, data):
    """The same from the truth."""
    family, params = TRUTHS[kind]
    return checked(family, data, {**START, **params})


def normal(seed):
    """Standard normal numbers, one a step."""
    return np.random.default_rng([seed, 1]).normal(size=STEPS)


def numbers(seed, errors, states=None):
    """Numbers with these errors in the place of independent normal ones."""
    data, path = drawn("numbers", seed)
    states = path if states is None else states
    params = TRUTHS["numbers"][1]
    weights, scale = (np.array(params[f"emissions.{n}"]) for n in ("weights", "scale"))
    mean = (data.covariates.numpy() * weights[states]).sum(1)
    return data.replace(emissions=mean + scale[states] * errors)


def beside(data, column):
    """The data with one more covariate."""
    x = np.column_stack([data.covariates, column])
    return data.replace(covariates=x, covariate_names=["x", "one", "more"])


def before(family, data, states=2, transitions=None):
    """The report before a fit."""
    return gh.check(gh.GLMHMM(states, family, transitions), data)


def heavy_tails(seed):
    """Errors of Student's t with 3 degrees of freedom, of the same variance."""
    errors = np.random.default_rng([seed, 1]).standard_t(3, STEPS) / np.sqrt(3)
    return from_the_truth("numbers", numbers(seed, errors))


def memory(seed):
    """Errors that are correlated by 0.4 from step to step."""
    noise = normal(seed)
    for t in range(1, STEPS):
        noise[t] = 0.4 * noise[t - 1] + np.sqrt(1 - 0.4**2) * noise[t]
    return from_the_truth("numbers", numbers(seed, noise))


def curved(seed):
    """Numbers that follow half of the square of their covariate, too."""
    data = numbers(seed, normal(seed))
    bent = data.emissions + 0.5 * data.covariates[:, 0] ** 2
    return from_the_truth("numbers", data.replace(emissions=bent))


def drifting(seed):
    """Numbers that rise by 1 in second halves of sessions."""
    data, late = numbers(seed, normal(seed)), torch.arange(STEPS) % 200 >= 100
    return from_the_truth("numbers", data.replace(emissions=data.emissions + late))


def third(weights, moves, first):
    """Values of choices of two states, and of a third one with these weights."""
    weights = [*TRUTHS["choices"][1]["emissions.weights"], weights]
    params = {"emissions.weights": weights, "transitions.probs": moves}
    return {**params, "initial.probs": first}


def empty(seed):
    """Choices of two states, at values of three: no state leads to the third.

    A search would give it steps, so that none is made.
    """
    moves = [[0.95, 0.05, 0.0], [0.05, 0.95, 0.0], [0.5, 0.5, 0.0]]
    params, data = third([0.0, 0.0], moves, [0.5, 0.5, 0.0]), drawn("choices", seed)[0]
    return at(gh.GLMHMM(3, TRUTHS["choices"][0]), data, params).check(data)


def twins(seed):
    """Choices of two states, fitted by three, the third of which begins as the second.

    EM never tells apart what begins alike.
    """
    moves = [[0.95, 0.025, 0.025], [0.05, 0.475, 0.475], [0.05, 0.475, 0.475]]
    params = third([-0.5, -1.0], moves, [0.5, 0.25, 0.25])
    return checked(TRUTHS["choices"][0], drawn("choices", seed)[0], params)


def phases(seed):
    """Choices of two states, visits to the second of which have two phases.

    At the values drawn at: a search makes states of the phases that choose apart.
    """
    moves = [[0.95, 0.05, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]]
    params = third([-0.5, -1.0], moves, [0.5, 0.5, 0.0])
    model = gh.GLMHMM(3, TRUTHS["choices"][0])
    data, _ = drawn_at(model, design("choices", seed), params, seed)
    return at(model, data, params).check(data)


def vanishing(seed):
    """Numbers of which six in a row are of a third state, far away."""
    data = numbers(seed, normal(seed))
    first = int(np.random.default_rng([seed, 2]).integers(STEPS - 6))
    y = data.emissions.clone()
    y[first : first + 6] += 12.0
    params = {
        "emissions.weights": [[1.0, 1.0], [0.5, -1.0], [0.0, 12.0]],
        "emissions.scale": [1.0, 0.5, 1.0],
        "transitions.probs": [[0.95, 0.045, 0.005], [0.045, 0.95, 0.005], [0.1] * 3],
        "initial.probs": [0.5, 0.5, 0.0],
    }
    params["transitions.probs"][2][2] = 0.8
    return checked(gh.Gaussian(prior=WEAK), data.replace(emissions=y), params)


def endless(seed):
    """Choices that are made by the sign of x in two sessions, under a flat prior.

    The state of the others is the second one. Where states change within a session,
    a choice of the one among those of the other may keep the weights finite.
    """
    data, states = design("choices", seed), np.arange(STEPS) // 200 % 2
    x = data.covariates.numpy()
    odds = x @ TRUTHS["choices"][1]["emissions.weights"][1]
    y = np.random.default_rng([seed, 2]).uniform(size=STEPS) < 1 / (1 + np.exp(-odds))
    data = data.replace(emissions=np.where(states == 0, x[:, 0] > 0, y))
    params = {**START, "emissions.weights": [[6.0, 0.0], [-0.5, -1.0]]}
    return checked(gh.Bernoulli(), data, params)


def idle(seed):
    """A covariate of numbers that varies in the second state alone, a flat prior."""
    data, states = drawn("numbers", seed)
    data = beside(data, np.where(states == 0, 0.0, normal(seed)))
    params = TRUTHS["numbers"][1]
    weights = [[*row, 0.0] for row in params["emissions.weights"]]
    return checked(
        gh.Gaussian(), data, {**START, **params, "emissions.weights": weights}
    )


def once(seed):
    """Numbers of one session: 400 steps of one state, then 400 of the other."""
    data = numbers(seed, normal(seed), np.arange(STEPS) // 400)
    return from_the_truth("numbers", data.replace(lengths=[STEPS]))


def column(make):
    """The report on choices, before a fit, with one more covariate of x and a seed."""

    def report(seed):
        data = drawn("choices", seed)[0]
        made = make(data.covariates[:, 0].numpy(), seed)
        return before(gh.Bernoulli(), beside(data, made))

    return report


def event(seed):
    """An event in one step of 20, that one of the choices always follows."""
    data = drawn("choices", seed)[0]
    there = np.random.default_rng([seed, 2]).uniform(size=STEPS) < 0.05
    data = data.replace(emissions=np.where(there, 1, data.emissions))
    return before(gh.Bernoulli(), beside(data, there))


def outcome(seed, driving):
    """A reward where the choice is on the side of x, at the step it is given at.

    Args:
        seed: of the data.
        driving: whether it drives transitions, or is a covariate of the choice.
    """
    data = drawn("choices", seed)[0]
    reward = (data.covariates[:, 0] > 0) == (data.emissions == 1)
    if not driving:
        return before(gh.Bernoulli(), beside(data, reward))
    names = {"transition_covariate_names": ["reward", "one"]}
    x = np.column_stack([reward, np.ones(STEPS)])
    data = data.replace(transition_covariates=x, **names)
    return before(gh.Bernoulli(), data, transitions=gh.InputDriven(WEAK))


def ready_made(seed):
    """The choice before, but at the first step of a session that step's own."""
    data = drawn("choices", seed)[0]
    y, starts = data.emissions.clone().numpy(), data.starts.numpy()
    y[starts] = [0, 1, 1, 0]
    column = np.concatenate([[0], y[:-1]])
    column[starts] = y[starts]
    return before(gh.Bernoulli(), beside(data.replace(emissions=y), column))


def unseen(seed):
    """Three classes out of four."""
    return before(gh.Categorical(4), drawn("classes", seed)[0])


def many_moves(seed):
    """Moves between five states by three covariates: 60 weights for 40 switches."""
    data = beside(drawn("choices", seed)[0], normal(seed))
    return before(gh.Bernoulli(), data, 5, gh.InputDriven())


def slowly(seed, bias, memory, over="fast"):
    """The report on choices of two levels at the truth, slow moves by a column.

    Args:
        seed: of the data.
        bias: log-odds of leaving a slow state.
        memory: correlation of the column from step to step.
        over: see ``ByLevel``.
    """
    noise = normal(seed)
    for t in range(1, STEPS):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    data = beside(design("choices", seed), noise)
    moves = TwoLevels(
        slow=gh.InputDriven(WEAK, covariates=["more", "one"]),
        fast=gh.InputDriven(WEAK, covariates=["one"]),
    )
    family = ByLevel(gh.Bernoulli(WEAK, covariates=["x", "one"]), over=over)
    rows = [[3.0, 0.0], [0.0, -2.0]] * (2 if over == "both" else 1)
    params = {
        "initial.probs": [0.25] * 4,
        "transitions.slow.weights": [[[1.0, bias]]] * 2,
        "transitions.fast.weights": [[[[-3.0]], [[-1.0]]], [[[-1.0]], [[-3.0]]]],
        "emissions.weights": rows,
    }
    model = gh.GLMHMM(Levels(2, 2), family, moves)
    data, _ = drawn_at(model, data, params, seed)
    return at(model, data, params).check(data)


# What is planted, the code that is to be found, and the report on it.
PLANTED = {
    "heavy tails": ("wrong-law", heavy_tails),
    "memory": ("memory-left", memory),
    "a curve": ("miscalibrated", curved),
    "a drift": ("drift", drifting),
    "an empty state": ("empty-states", empty),
    "a state of 6 steps": ("vanishing-states", vanishing),
    "a state twice": ("twin-states", twins),
    "a state in phases": ("alike-states", phases),
    "endless weights": ("unbounded-weights", endless),
    "one switch": ("few-switches", once),
    "an idle column": ("rank-deficient-state", idle),
    "zeros": ("zero-columns", column(lambda x, seed: 0 * x)),
    "a second constant": ("constant-twice", column(lambda x, seed: 0 * x + 3)),
    "a large unit": ("badly-scaled", column(lambda x, seed: 2000 * normal(seed))),
    "a far mean": ("far-from-zero", column(lambda x, seed: 500 + normal(seed) / 5)),
    "a sum": ("collinear", column(lambda x, seed: 2 * x + 1)),
    "nearly a sum": ("collinear", column(lambda x, seed: x + 1 + normal(seed) / 12)),
    "an event that tells": ("separation", event),
    "a reward, driving": ("leak", lambda seed: outcome(seed, driving=True)),
    "a reward, weighted": ("leak", lambda seed: outcome(seed, driving=False)),
    "a ready-made history": ("leak", ready_made),
    "an unseen class": ("unseen-classes", unseen),
    "60 weights of moves": ("few-switches", many_moves),
    "few slow switches": ("few-slow-switches", lambda s: slowly(s, -6.0, 0.99)),
    "a fast slow column": ("blurred-switches", lambda s: slowly(s, -3.0, 0.0)),
    "two free levels": ("free-levels", lambda s: slowly(s, -3.0, 0.99, "both")),
}


def main():
    """Print counts of false alarms by family, and of what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--only", help="what is planted, by its code alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began, alarms, number = time.process_time(), 0, 0
    for kind in TRUTHS if args.sets else ():
        codes = []
        for seed in range(args.sets):
            report = from_the_truth(kind, drawn(kind, seed)[0])
            alarms, number = alarms + report.warns, number + 1
            codes += [f.code for f in report if f.severity != "note"]
        print(f"{kind:10} {args.sets} fits, warnings: {', '.join(codes) or 'none'}")
    print(f"well-specified: {said(alarms, number)} warn")
    for name, (code, plant) in PLANTED.items():
        if args.only in (None, code):
            found = sum(code in plant(seed).codes for seed in range(args.planted))
            print(f"{name:20} {code:20} {said(found, args.planted)}", flush=True)
    print(f"{time.process_time() - began:.0f} CPU seconds")


def said(count, number):
    """A share with its standard error, after one more of either outcome."""
    likely = (count + 1) / (number + 2)
    error = np.sqrt(likely * (1 - likely) / max(number, 1))
    share = count / max(number, 1)
    return f"{count} of {number} ({100 * share:.1f} ± {100 * error:.1f} %)"


if __name__ == "__main__":
    main()

"""Weights that drift from trial to trial, beside PsyTrack: `Varying(over="step")`.

    python benchmarks/drift.py              at hyperparameters given, and learnt ones
    python benchmarks/drift.py --only 2000
    python benchmarks/drift.py --days       two states over 80 days, in several ways
    python benchmarks/drift.py --errors     standard errors of all weights and scales
    python benchmarks/drift.py --draws      NUTS of all weights of 2,000 trials

The choices of rat W053 (20,000 trials, 80 days), weights of five covariates and a bias.
PsyTrack 2.0.2 runs in an environment of its own, made at the first call; both get one
thread, and times are CPU seconds of a call after a first one on a few trials.

What came out, on a two-core machine that others worked on::

                                                2,000 trials        20,000 trials
    all weights and the evidence, same hyperparameters
      the search for the mode              0.011 s  -1324.254973   0.10 s  -12654.699827
      gh.fit in all                        0.078 s                 0.27 s
      PsyTrack                             0.95 s   -1324.254973  119.5 s  -12654.699827
      times as long as the search               81 to 85               1168
      times as long as gh.fit                      12                   448
    twelve hyperparameters learnt
      gh.fit                               4.9 s    -1276.9015
      PsyTrack                            54.1 s    -1277.1908

Two states (`--days`): a static model, weights that walk over 80 days, and weights that
are apart in every ten of them; log-likelihoods or log-evidence::

    static                        0.1 s  -12312.946
    walking                       1.7 s  -12187.908
    one scale learnt              3.2 s  -12179.056
    twelve scales learnt          6.0 s  -12149.061
    a scale and moves learnt     43.2 s  -12165.456
    tens of days apart, em       13.8 s  -11934.535  Status.CONVERGED
    tens of days apart, map      15.1 s  -11934.535  Status.CONVERGED

Standard errors (`--errors`), at scales given, and with twelve learnt. A dense matrix of
the second derivatives of 120,000 weights would be 115 GB::

    2000 trials, scales given        12000 errors    0.02 s, 0 MB above the fit
    2000 trials, scales learnt       12012 errors    0.46 s, 0 MB above the fit
    20000 trials, scales given      120000 errors    0.05 s, 0 MB above the fit

NUTS (`--draws`) of the 12,000 weights of 2,000 trials, in coordinates that are whitened
by the factor of their curvature::

    12000 weights, 200 draws in two chains: 39 s
    gradients a draw 31, effective draws 460
    widths over standard errors, median 1.02

Rivals that cannot be installed here say of themselves: diHMM (Bruijns et al. 2025, an
infinite semi-Markov model whose weights drift by session), about 24 hours on 16 cores
an animal; the dynamic GLM-HMM (Cuturela et al.) is fitted for every pair of 7 step
sizes and 15 concentrations by jobs on a cluster.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time
import warnings

import numpy as np
from run import environment, one_thread

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ["prev_answer", "prev_choice", "s1", "s2", "s_avg_prev"]
SIZES = (2000, 20_000)

# Hyperparameters of the comparison: first weights, steps over trials and over days.
START, STEP, DAY = 2.0**4, 2.0**-4, 2.0**-2


def choices(number, folder):
    """The first trials in a file, as PsyTrack takes them; where it is."""
    from glmhmm_pyro.datasets import load_rat_dataframe

    table = load_rat_dataframe().iloc[:number]
    path = pathlib.Path(folder) / f"rat_{number}.npz"
    path.parent.mkdir(exist_ok=True, parents=True)
    columns = {"y": table["choice_right"], "X": table[COLUMNS], "day": table["day"]}
    np.savez(path, names=COLUMNS, scales=[START, STEP, DAY], **columns)
    return path


def sequences(path):
    """The same for this package, the bias first."""
    import glmhmm_pyro as gh

    found = np.load(path)
    day, one = found["day"], np.ones((len(found["y"]), 1))
    lengths = np.diff(np.flatnonzero(np.r_[True, day[1:] != day[:-1], True]))
    names = ["bias", *COLUMNS]
    x = np.hstack([one, found["X"]])
    return gh.Sequences(found["y"], x, lengths=lengths, covariate_names=names)


def walks(step=STEP, day=DAY):
    """A model of one state whose weights walk over steps."""
    import glmhmm_pyro as gh
    from glmhmm_pyro.components import Varying

    law = gh.priors.RandomWalk(step, START, per=("covariate",), border_scale=day)
    return gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law))


def timed(function, times=1):
    """What comes of a call, and the fewest CPU seconds of a few."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        found = function()
        spent.append(time.process_time() - began)
    return found, min(spent)


def ours(path, learn):
    """Weights and evidence of the fit; and seconds of the mode's search by itself."""
    import torch

    import glmhmm_pyro as gh
    from glmhmm_pyro.inference.marginal.law_evidence import expand_at_units_mode
    from glmhmm_pyro.inference.marginal.problem import MarginalProblem
    from glmhmm_pyro.inference.program.program import Program

    data = sequences(path)
    gh.fit(walks(), data.subset([0]), "map", progress=False)
    fit, seconds = timed(lambda: gh.fit(walks(), data, "map", progress=False), 3)
    problem = MarginalProblem.of(Program.of(walks(), data))
    none = torch.zeros(data.num_steps, 6, dtype=torch.float64)
    at, alone = timed(lambda: expand_at_units_mode(problem, none[0, :0], none), 5)
    found = {
        "map_seconds": alone,
        "fit_seconds": seconds,
        "map_evidence": at.evidence,
        "weights": fit.params["emissions.weights"][:, 0].T.numpy(),
    }
    if learn:
        learnt, seconds = timed(
            lambda: gh.fit(walks("learnt", "learnt"), data, "map", progress=False)
        )
        found |= {
            "learnt_seconds": seconds,
            "learnt_evidence": learnt.log_likelihood,
        }
    return found


def theirs(path, folder, learn):
    """The same of PsyTrack."""
    out = str(pathlib.Path(folder) / f"{path.stem}_psytrack")
    script = [HERE / "fit_psytrack.py", path, out]
    command = [environment("psytrack", folder), "-I", *script]
    more = ["--learn"] if learn else []
    subprocess.run([*command, *more], check=True, env=one_thread())
    with open(out + ".json") as file:
        facts = json.load(file)
    return {**facts, **np.load(out + ".npz")}


def compare(number, folder):
    """A line for the same hyperparameters, and one for those that are learnt."""
    path, learn = choices(number, folder), number <= 2000
    own, other = ours(path, learn), theirs(path, folder, learn)
    order = [["bias", *COLUMNS].index(name) for name in other["names"]]
    apart = np.abs(own["weights"][order] - other["weights"]).max()
    ratio = other["map_seconds"] / own["map_seconds"]
    print(f"{number} trials, hyperparameters given: weights at most {apart:.1e} apart")
    row = "  {:22} {:8.3f} s   log-evidence {:.6f}"
    print(row.format("mode and evidence", own["map_seconds"], own["map_evidence"]))
    print(f"  {'gh.fit in all':22} {own['fit_seconds']:8.3f} s")
    print(row.format("PsyTrack", other["map_seconds"], other["map_evidence"]))
    print(f"  PsyTrack takes {ratio:.0f} times as long", end="")
    print(f", {other['map_seconds'] / own['fit_seconds']:.0f} times gh.fit in all")
    if learn:
        print(f"{number} trials, twelve hyperparameters learnt")
        for name, run in (("gh.fit", own), ("PsyTrack", other)):
            print(row.format(name, run["learnt_seconds"], run["learnt_evidence"]))


def days():
    """Two states whose weights walk over days, or are apart in every ten of them."""
    import glmhmm_pyro as gh
    from glmhmm_pyro.components import Varying

    rat = gh.datasets.load_rat()
    options = {"num_restarts": 1, "seed": 0, "progress": False}
    moves = gh.Stationary(gh.priors.Fixed([[0.95, 0.05], [0.05, 0.95]]))
    first = gh.Initial(gh.priors.Fixed([0.5, 0.5]))

    def walking(step=0.15, per=(), given=(moves, first)):
        law = gh.priors.RandomWalk(step, start_scale=4.0, per=per)
        return gh.GLMHMM(2, Varying(gh.Bernoulli(), law=law), *given)

    gh.fit(walking(), rat.subset(range(4)), "map", **options)
    models = {
        "static": gh.GLMHMM(2, gh.Bernoulli()),
        "walking": walking(),
        "one scale learnt": walking("learnt"),
        "twelve scales learnt": walking("learnt", ("state", "covariate")),
        "a scale and moves learnt": walking("learnt", given=()),
    }
    for name, model in models.items():
        fit, seconds = timed(lambda model=model: gh.fit(model, rat, "map", **options))
        print(f"{name:26} {seconds:6.1f} s  {fit.log_likelihood:.3f}", flush=True)
        for note in fit.notes:
            print(f"    {note}")
    tens = rat.replace(groups=[f"days {s // 10}0s" for s in range(80)])
    apart = gh.GLMHMM(2, Varying(gh.Bernoulli(), "group", law=None))
    for method in ("em", "map"):
        fit, seconds = timed(lambda: gh.fit(apart, tens, method, progress=False))
        name = f"tens of days apart, {method}"
        print(f"{name:26} {seconds:6.1f} s  {fit.log_likelihood:.3f}  {fit.status}")


def errors(numbers, folder):
    """Standard errors of all weights, and of scales that are learnt."""
    import resource

    import glmhmm_pyro as gh

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

    for number in numbers:
        data = sequences(choices(number, folder))
        few = data.subset([0])
        for learnt in (False, True) if number <= 2000 else (False,):
            model = walks("learnt", "learnt") if learnt else walks()
            gh.fit(walks(), few, "map", progress=False).standard_errors(few)
            fit, before = gh.fit(model, data, "map", progress=False), peak()
            found, seconds = timed(lambda: fit.standard_errors(data))
            size = sum(array.size for array in found.values())
            what = f"{number} trials, scales {'learnt' if learnt else 'given'}"
            print(
                f"{what:30} {size:7d} errors {seconds:7.2f} s, "
                f"{peak() - before:.0f} MB above the fit"
            )


def draws(folder):
    """NUTS of the weights of 2,000 trials, beside standard errors."""
    import glmhmm_pyro as gh

    data, name = sequences(choices(2000, folder)), "emissions.weights"
    nuts = gh.NUTS(100, 50, num_chains=2, parallel=False)
    fit, seconds = timed(lambda: gh.fit(walks(), data, nuts, progress=False))
    errors = gh.fit(walks(), data, "map", progress=False).standard_errors(data)[name]
    width = fit.posterior.draws[name].flatten(0, 1).std(0).numpy() / errors.values
    effective = fit.diagnostics()["ess_bulk"]
    gradients = fit.posterior.stats["num_leapfrogs"].mean()
    print(f"{width.size} weights, 200 draws in two chains: {seconds:.0f} s")
    print(f"gradients a draw {gradients:.0f}, effective draws {effective.median():.0f}")
    print(f"widths over standard errors, median {np.median(width):.2f}")


def main(argv=None):
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", default=SIZES)
    parser.add_argument("--days", action="store_true", help="two states over 80 days")
    parser.add_argument("--errors", action="store_true", help="standard errors")
    parser.add_argument("--draws", action="store_true", help="NUTS")
    parser.add_argument("--folder", default=str(HERE / "results"))
    args = parser.parse_args(argv)
    os.environ.update(one_thread())
    warnings.simplefilter("ignore")
    if args.days:
        days()
        return
    if args.errors:
        errors(args.only, args.folder)
        return
    if args.draws:
        draws(args.folder)
        return
    for number in args.only:
        compare(number, args.folder)


if __name__ == "__main__":
    main()

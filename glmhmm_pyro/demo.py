"""The demonstration: fits a rat's choices, prints what it found, draws and saves it.

Run it by ``python -m glmhmm_pyro.demo FOLDER``.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmhmm_pyro.components import Bernoulli
from glmhmm_pyro.datasets import load_rat
from glmhmm_pyro.inference import Fit, fit
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.plotting import history, timeline, transitions, weights
from glmhmm_pyro.priors import Ridge
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NUM_STATES = 2

# Weak: it keeps weights finite where a state is nearly separated.
PRIOR = Ridge(2.0)

# Relative change of the log-joint at which EM stops: within 1e-4 nats of the maximum.
TOLERANCE = 1e-10


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, print and write.

    Args:
        argv: arguments of the command line; by default those of the process.

    Returns:
        Exit status: 0.
    """
    arguments = _parser().parse_args(argv)
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_rat()
    data = data.subset(slice(0, arguments.sessions))
    model = GLMHMM(NUM_STATES, Bernoulli(PRIOR))
    _say(_about_data(data), model.explain(), f"Fitting from {arguments.starts} starts.")
    single = fit(GLMHMM(1, Bernoulli(PRIOR)), data, num_restarts=1, progress=False)
    fitted = fit(
        model,
        data,
        num_restarts=arguments.starts,
        seed=arguments.seed,
        progress=sys.stderr.isatty(),
        tol=TOLERANCE,
    )
    _say(
        _about_likelihood(fitted, single),
        _about_states(fitted, data),
        _about_files(list(_write(fitted, data, folder))),
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m glmhmm_pyro.demo",
        description="Fit a GLM-HMM to 20,000 choices of a rat; draw and save it.",
    )
    parser.add_argument(
        "folder", nargs="?", default="demo", help="where the files go (default: demo)"
    )
    parser.add_argument(
        "--sessions", type=_count, help="use the first days only (default: all 80)"
    )
    parser.add_argument(
        "--starts", type=_count, default=6, help="starts of EM (default: 6)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the starts (default: 0)"
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _say(*paragraphs: str) -> None:
    for paragraph in paragraphs:
        print(paragraph, end="\n\n", flush=True)


def _about_data(data: Sequences) -> str:
    right = 100 * data.emissions.double().mean()
    return (
        f"Data: choices of rat W053, left or right, {data.num_steps:,} trials on "
        f"{data.num_sessions} days\n(which of two sounds was louder; Akrami et al. "
        f"2018, from PsyTrack, Roy et al. 2021).\n{right:.1f} % of the choices went "
        f"right.\nCovariates: {', '.join(data.covariate_names)}."
    )


def _about_likelihood(fitted: Fit, single: Fit) -> str:
    steps = fitted.labels.num_observed
    gain = fitted.log_likelihood - single.log_likelihood
    more = fitted.num_parameters - single.num_parameters
    ends = fitted.restart_report()
    return (
        f"Log-likelihood: {fitted.log_likelihood:.4f} nats with {NUM_STATES} states, "
        f"{single.log_likelihood:.4f} with one (a GLM):\n"
        f"{gain:.1f} nats, or {gain / steps / math.log(2):.4f} bits per trial, for "
        f"{more} more parameters.\n"
        f"{fitted.num_agreeing} of {fitted.num_starts} starts end in the best of "
        f"{len(fitted.solutions)} solutions found,\nthe worst start "
        f"{ends['below_best'].max():.1f} nats below it.\n"
        f"Status: {fitted.status.sentence}."
    )


def _about_states(fitted: Fit, data: Sequences) -> str:
    table = _state_table(fitted, data)
    history_weights = table.loc[["prev_choice", "prev_answer"]].abs().sum()
    state = history_weights.idxmax()
    return (
        "Weights on the log-odds of going right, and what else tells the states apart:"
        f"\n{table.to_string(float_format='{:.3f}'.format)}\n"
        f"The previous trial (its choice, its answer) weighs most in {state}."
    )


def _state_table(fitted: Fit, data: Sequences) -> "pd.DataFrame":
    """Weights, occupancy and mean dwell time, a column a state."""
    emission = fitted.parameters["emissions.weights"]
    names = [f"state {state}" for state in range(NUM_STATES)]
    table = emission.transpose("covariate", "state").to_pandas()
    table.columns = names
    table.index.name = None
    table.loc["part of the trials"] = fitted.decode(data).smoothed_probs.mean("step")
    staying = fitted.parameters["transitions.probs"].values.diagonal()
    table.loc["mean stay in trials"] = 1 / (1 - staying)
    return table


def _about_files(paths: Sequence[Path]) -> str:
    lines = "\n".join(f"  {path}" for path in paths)
    return f"Written:\n{lines}\nRead the fit again by gh.load({str(paths[0])!r})."


def _write(fitted: Fit, data: Sequences, folder: Path) -> Iterator[Path]:
    """Write the fit, its summary and the pictures; their paths, the fit's first."""
    fitted.save(folder / "fit.nc")
    yield folder / "fit.nc"
    fitted.summary().to_csv(folder / "parameters.csv", index=False)
    yield folder / "parameters.csv"
    _draw(fitted, data).savefig(folder / "demo.png", dpi=90)
    yield folder / "demo.png"


def _draw(fitted: Fit, data: Sequences) -> "Figure":
    """The four pictures in one figure."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 7.2), layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic(
        [["weights", "transitions"], ["timeline", "history"]], width_ratios=[5, 3]
    )
    weights(fitted, data, axes["weights"])
    transitions(fitted, data, axes["transitions"])
    timeline(fitted, data, _mixed_session(fitted, data), axes["timeline"])
    history(fitted, axes["history"])
    return figure


def _mixed_session(fitted: Fit, data: Sequences) -> int:
    """The session that is split most evenly between the states."""
    first = fitted.decode(data).smoothed_probs.values[:, 0]
    shares = [abs(float(part.mean()) - 0.5) for part in data.split(first)]
    return min(range(len(shares)), key=shares.__getitem__)


if __name__ == "__main__":
    sys.exit(main())

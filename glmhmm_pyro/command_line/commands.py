"""What ``glmhmm`` can do: fit, select, check, decode, score, plot, simulate, info.

Every command is a call or two of the package; errors are sentences, exit status 1.
"""

import functools
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pandas as pd

from glmhmm_pyro import plotting
from glmhmm_pyro.command_line.study_files import StudyFile, read_study, write_table
from glmhmm_pyro.command_line.study_words import in_study_words
from glmhmm_pyro.inference import Fit, Report
from glmhmm_pyro.inference import check as check_before
from glmhmm_pyro.sequences import LeakageWarning, Sequences
from glmhmm_pyro.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Status where a fit was made and written that did not end as it should.
NOT_CONVERGED = 3

# Status where a check has found what is more than worth knowing.
FOUND = 4

# Pictures of a fit and data, by the names of their functions; those of one session.
_OF_A_SESSION = ("timeline", "overview")
PICTURES: dict[str, Callable[[Fit, Sequences, int | str], "Axes | Figure"]] = {
    "weights": lambda fit, data, session: plotting.weights(fit),
    "transitions": lambda fit, data, session: plotting.transitions(fit),
    "history": lambda fit, data, session: plotting.history(fit),
    "timeline": plotting.timeline,
    "predictions": lambda fit, data, session: plotting.predictions(fit, data),
    "occupancy": lambda fit, data, session: plotting.occupancy(fit, data),
    "dwell_times": lambda fit, data, session: plotting.dwell_times(fit, data),
    "overview": lambda fit, data, session: plotting.overview(
        fit, data, session=session
    ),
}

STUDY = click.argument("study", type=click.Path(dir_okay=False))
FIT = click.argument("fit_file", metavar="FIT", type=click.Path(dir_okay=False))
DATA = click.option("--data", help="another table with the columns of the study's.")
OUT = click.option("--out", required=True, help="where the result goes.")
CHECKPOINT = click.option(
    "--checkpoint", help="a file to go on from after an interrupt or a kill."
)
SEED = click.option(
    "--seed", default=0, show_default=True, help="makes it reproducible."
)
JSON = click.option("--json", "as_json", is_flag=True, help="print JSON.")


def in_sentences(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors and warnings of the package without their tracebacks."""

    @functools.wraps(command)
    def said(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                return command(*args, **kwargs)
            except (ImportError, LookupError, OSError, TypeError, ValueError) as error:
                said = in_study_words(sentence_of(error))
                raise click.ClickException(said) from error
            finally:
                ours = [w for w in caught if issubclass(w.category, UserWarning)]
                for message in dict.fromkeys(str(warning.message) for warning in ours):
                    click.echo(f"Warning: {in_study_words(message)}", err=True)

    return said


def sentence_of(error: Exception) -> str:
    """What an error says; of a file that the system cannot use, which and why."""
    if isinstance(error, KeyError):
        return str(error.args[0])
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    path = Path(error.filename)
    if not isinstance(error, FileNotFoundError):
        return f"file {path} cannot be used: {error.strerror}"
    missing = path if path.parent.exists() else path.parent
    what = "file" if missing is path else "folder"
    return (
        f"no {what} {missing}; name one that is there (paths in a study start from the "
        "study's folder, those of a command from the folder that you are in)"
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """GLM-HMMs from a study in a TOML file."""


@main.command()
@STUDY
@OUT
@DATA
@CHECKPOINT
@JSON
@in_sentences
def fit(
    study: str, out: str, data: str | None, checkpoint: str | None, as_json: bool
) -> None:
    """Fit the model of STUDY and write the fit to a file (.nc)."""
    known = read_study(study)
    sessions = known.read_data(data)
    found = known.fitted(sessions, checkpoint, progress=sys.stderr.isatty())
    found.save(out)
    click.echo(json.dumps(described(found)) if as_json else str(found))
    if not found.status.is_success:
        sys.exit(NOT_CONVERGED)


@main.command()
@STUDY
@OUT
@DATA
@CHECKPOINT
@JSON
@in_sentences
def select(
    study: str, out: str, data: str | None, checkpoint: str | None, as_json: bool
) -> None:
    """Choose the number of states by sessions held out; write the chosen fit (.nc)."""
    known = read_study(study)
    sessions = known.read_data(data)
    found = known.selected(sessions, checkpoint, progress=sys.stderr.isatty())
    if found.fit is None:
        raise ValueError("no number of states was fitted to all data: start again")
    found.fit.save(out)
    table = found.table.to_json(orient="index")
    told = {"best": found.best, "rule": found.rule, "table": json.loads(table)}
    click.echo(json.dumps(told) if as_json else str(found))


@main.command()
@FIT
@JSON
@in_sentences
def info(fit_file: str, as_json: bool) -> None:
    """Say what is in FIT: how it ended, and its parameters."""
    found = Fit.load(fit_file)
    if as_json:
        click.echo(json.dumps(described(found)))
        return
    click.echo(found)
    click.echo(found.summary().to_string())


@main.command()
@STUDY
@FIT
@OUT
@DATA
@in_sentences
def decode(study: str, fit_file: str, out: str, data: str | None) -> None:
    """Write probabilities of the states at every step to a table (.csv, .parquet)."""
    found, sessions = _read(study, fit_file, data)
    write_table(decoded_table(found, sessions), out)


@main.command()
@STUDY
@click.argument("fit_file", metavar="[FIT]", required=False)
@DATA
@JSON
@in_sentences
def check(study: str, fit_file: str | None, data: str | None, as_json: bool) -> None:
    """Say what speaks against the data of STUDY, or against FIT."""
    known = read_study(study)
    with warnings.catch_warnings():
        # The report has them as findings.
        warnings.simplefilter("ignore", LeakageWarning)
        sessions = known.read_data(data)
    if fit_file is None:
        report = check_before(known.make_model(), sessions)
    else:
        report = Fit.load(fit_file).check(sessions)
    findings = [replace(f, sentence=in_study_words(f.sentence)) for f in report]
    report = Report.of(report.subject, findings, report.made, report.left_out)
    rows = json.loads(report.table.reset_index().to_json(orient="records"))
    click.echo(json.dumps(rows) if as_json else str(report))
    if report.warns:
        sys.exit(FOUND)


@main.command()
@STUDY
@FIT
@DATA
@JSON
@in_sentences
def score(study: str, fit_file: str, data: str | None, as_json: bool) -> None:
    """Print the log-likelihood per observed step, in nats."""
    found, sessions = _read(study, fit_file, data)
    value = found.score(sessions)
    click.echo(json.dumps({"nats_per_step": value}) if as_json else f"{value:.6f}")


@main.command()
@STUDY
@FIT
@OUT
@DATA
@click.option("--picture", default="weights", type=click.Choice(list(PICTURES)))
@click.option(
    "--session",
    help="of a timeline or an overview: its name or number; the first by default.",
)
@in_sentences
def plot(
    study: str,
    fit_file: str,
    out: str,
    data: str | None,
    picture: str,
    session: str | None,
) -> None:
    """Draw a picture into a file (.png, .pdf, .svg)."""
    if session is not None and picture not in _OF_A_SESSION:
        raise ValueError(
            f"--session must be left out of pictures of all sessions, got {session} "
            f"for {picture}; leave it out, or take --picture timeline or overview"
        )
    found, sessions = _read(study, fit_file, data)
    which = 0 if session is None else named(session, sessions)
    drawn: Any = PICTURES[picture](found, sessions, which)
    getattr(drawn, "figure", drawn).savefig(out, bbox_inches="tight")


@main.command()
@STUDY
@FIT
@OUT
@DATA
@SEED
@click.option("--num-samples", default=1, show_default=True, help="times all sessions.")
@click.option(
    "--closed-loop",
    is_flag=True,
    help="makes terms of past choices from the choices that are drawn.",
)
@in_sentences
def simulate(
    study: str,
    fit_file: str,
    out: str,
    data: str | None,
    seed: int,
    num_samples: int,
    closed_loop: bool,
) -> None:
    """Write behaviour drawn from FIT at the covariates of the data to a table."""
    found, sessions = _read(study, fit_file, data)
    drawn, states = found.simulate(
        sessions, seed, num_samples=num_samples, history=closed_loop
    )
    table = drawn.to_dataframe()
    taken = [name for name in ("copy", "state") if name in table]
    if taken:
        raise ValueError(
            "columns of a study to be simulated must not be called copy or state, which"
            f" the table written has, got {taken[0]!r}; rename it and fit again"
        )
    copies = np.repeat(np.arange(1, num_samples + 1), sessions.num_steps)
    write_table(table.assign(copy=copies, state=states), out)


def named(session: str, data: Sequences) -> int | str:
    """A session as it was written: by its name, else by its number from 0.

    Args:
        session: what was written.
        data: the sessions.
    """
    if session in data.session_names or not session.isdecimal():
        return session
    return int(session) if int(session) < data.num_sessions else session


def described(fit: Fit) -> dict[str, Any]:
    """A fit in numbers and words that JSON knows."""
    return {
        "status": fit.status.name,
        "message": fit.status.sentence,
        "log_likelihood": fit.log_likelihood,
        "log_joint": fit.log_joint,
        "num_parameters": fit.num_parameters,
        "num_starts": fit.num_starts,
        "num_agreeing": fit.num_agreeing,
        "notes": list(fit.notes),
        "parameters": {
            name: array.to_dict(encoding=False)
            for name, array in fit.parameters.items()
        },
    }


def decoded_table(fit: Fit, data: Sequences) -> pd.DataFrame:
    """A row a step: session, step, probabilities of each state, the path decoded."""
    found = fit.decode(data)
    table = data.to_dataframe()
    for name in ("smoothed_probs", "filtered_probs", "predicted_probs"):
        for state in found["state"].values:
            column = found[name].sel(state=state).values
            table[f"{name.removesuffix('s')}_{state}"] = column
    path = found["viterbi_states"].values
    return table.assign(viterbi_state=found["state"].values[path])


def _read(study: str, fit_file: str, data: str | None) -> tuple[Fit, Sequences]:
    known: StudyFile = read_study(study)
    return Fit.load(Path(fit_file)), known.read_data(data)

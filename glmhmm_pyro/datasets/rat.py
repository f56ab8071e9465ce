"""Twenty thousand choices of one rat: embedded real data, read from the package."""

import io
from importlib import resources
from typing import TYPE_CHECKING

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


@suggests_names
def load_rat_dataframe() -> "pd.DataFrame":
    """Choices of rat W053 in a parametric working memory task, one row per trial.

    The rat compared the loudness of two sounds, one after the other: right was rewarded
    on every trial with s1 > s2, left on every other. From the sample data of PsyTrack
    (Roy et al. 2021, Neuron 109:597; MIT licence); the task is that of Akrami et al.
    2018 (Nature 554:368). PROVENANCE.md beside this file tells the rest.

    Columns:
        day: training day, 1 to 80. Trials of a day stand together, in their order.
        trial: number of the trial within its day, from 1.
        choice_right: 1 = the rat went right, 0 = left.
        answer_right: 1 = right was rewarded, 0 = left.
        correct: 1 = the rat was rewarded.
        s1, s2: loudness of the first and the second sound, z-scored.
        s_avg_prev: mean of s1 and s2 on the previous trial.
        prev_choice, prev_answer: what the rat chose and what was rewarded on the
            previous trial, -1 = left, 1 = right.
        prev_reward: -1 = the previous trial went unrewarded, 1 = rewarded.

    The columns about the previous trial are 0 where there is no valid one.

    Example:
        >>> import glmhmm_pyro as gh
        >>> trials = gh.datasets.load_rat_dataframe()
        >>> len(trials), trials["day"].nunique()
        (20000, 80)
    """
    import pandas as pd

    packed = resources.files(__package__).joinpath("rat_w053.csv.gz").read_bytes()
    return pd.read_csv(io.BytesIO(packed), compression="gzip")


@suggests_names
def load_rat() -> Sequences:
    """Choices of rat W053 as 80 sessions, one per day, 20,000 trials in all.

    Emissions are the choices ('left', 'right'); their covariates s1, s2, s_avg_prev,
    prev_choice, prev_answer and the intercept; those of the transitions prev_reward and
    the intercept. :func:`load_rat_dataframe` explains the columns.

    Example:
        >>> load_rat()
        Sequences: 80 sessions of 54 to 400 steps, 20000 steps in all
          emissions: choice_right (classes left, right)
          covariates: s1, s2, s_avg_prev, prev_choice, prev_answer, intercept
          transition covariates: prev_reward, intercept
    """
    return Sequences.from_dataframe(
        load_rat_dataframe(),
        session="day",
        emissions="choice_right",
        covariates=["s1", "s2", "s_avg_prev", "prev_choice", "prev_answer"],
        transition_covariates=["prev_reward"],
        intercept=True,
        class_names=("left", "right"),
    )

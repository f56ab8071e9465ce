"""Models that a study file can write: the same as in Python."""

import tomllib

import pytest

import glmhmm_pyro as gh
from glmhmm_pyro import components
from glmhmm_pyro.command_line.study_files import read_study

RIDGE = gh.priors.Ridge(2.0)
BERNOULLI = "emissions = {Bernoulli = {prior = {Ridge = 2.0}}}"

MODELS = {
    "forbidden moves": (
        f"num_states = 3\n{BERNOULLI}\n"
        "transitions = {Stationary = {forbidden = [[0, 2], [2, 0]]}}",
        lambda: gh.GLMHMM(
            3, gh.Bernoulli(RIDGE), gh.Stationary(forbidden=[(0, 2), (2, 0)])
        ),
    ),
    "driven moves": (
        f"num_states = 2\n{BERNOULLI}\n"
        "transitions = {InputDriven = {prior = {Ridge = 1}, forbidden = [[1, 0]]}}",
        lambda: gh.GLMHMM(
            2,
            gh.Bernoulli(RIDGE),
            gh.InputDriven(gh.priors.Ridge(1), forbidden=[(1, 0)]),
        ),
    ),
    "dwell times": (
        f"num_states = 2\n{BERNOULLI}\n"
        "transitions = {SemiMarkov = {dwell = {NegativeBinomial = {phases = 3}}}}",
        lambda: gh.GLMHMM(
            2,
            gh.Bernoulli(RIDGE),
            components.SemiMarkov(gh.dwell.NegativeBinomial(3)),
        ),
    ),
    "dwell times, first of the arguments": (
        f'num_states = 2\n{BERNOULLI}\ntransitions = {{SemiMarkov = "Poisson"}}',
        lambda: gh.GLMHMM(
            2, gh.Bernoulli(RIDGE), components.SemiMarkov(gh.dwell.Poisson())
        ),
    ),
    "two levels": (
        f"num_states = {{Levels = {{slow = 2, fast = 3}}}}\n{BERNOULLI}",
        lambda: gh.GLMHMM(gh.Levels(2, 3), gh.Bernoulli(RIDGE)),
    ),
    "weights that vary": (
        'num_states = 1\nemissions = {Varying = {family = "Bernoulli", '
        'over = "session", law = {RandomWalk = 0.5}}}',
        lambda: gh.GLMHMM(1, gh.Varying(gh.Bernoulli(), law=gh.priors.RandomWalk(0.5))),
    ),
    "labels of known states": (
        'num_states = 2\nemissions = {Outputs = {choice = "Bernoulli", '
        "state = {KnownStates = {labels = [1, 0]}}}}",
        lambda: gh.GLMHMM(
            2,
            gh.Outputs(
                choice=gh.Bernoulli(), state=components.KnownStates(labels=[1, 0])
            ),
        ),
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_any_kind_is_written_as_in_python(tmp_path, kind):
    written, made = MODELS[kind]
    data = '[data]\npath = "trials.csv"\nsession = "day"\nemissions = "choice"\n'
    (tmp_path / "study.toml").write_text(f"{data}\n[model]\n{written}\n")
    found = read_study(str(tmp_path / "study.toml")).make_model()
    assert repr(found) == repr(made())
    assert found.num_states == made().num_states
    assert tomllib.loads(written)["num_states"]


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_two_levels_stand_among_the_numbers_to_choose_from(tmp_path):
    pd = pytest.importorskip("pandas")
    days = pd.DataFrame({"day": [1, 2, 3, 4] * 10}).sort_values("day")
    days["choice"] = [0, 1, 1, 0, 1, 0, 0, 1, 1, 1] * 4
    days.to_csv(tmp_path / "trials.csv", index=False)
    text = (
        '[data]\npath = "trials.csv"\nsession = "day"\nemissions = "choice"\n'
        f"[model]\nnum_states = 1\n{BERNOULLI}\n[select]\nfolds = 2\n"
        "num_restarts = 1\nnum_states = [1, {Levels = {slow = 2, fast = 2}}]\n"
    )
    (tmp_path / "study.toml").write_text(text)
    study = read_study(str(tmp_path / "study.toml"))
    found = study.selected(study.read_data())
    assert list(found.fits) == [1, "2 x 2"]

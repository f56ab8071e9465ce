"""The command line: every command does what the function of the package does."""

import json
import subprocess
import sys
import tomllib
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import glmhmm_pyro as gh
from glmhmm_pyro import covariates
from glmhmm_pyro.command_line import commands
from glmhmm_pyro.command_line.commands import FOUND, NOT_CONVERGED, PICTURES, main
from glmhmm_pyro.command_line.study_files import read_study
from glmhmm_pyro.command_line.study_words import in_study_words
from glmhmm_pyro.command_line.written import component, design

STUDY = """
[data]
path = "trials.csv"
session = "day"
emissions = "choice"
covariates = ["stim"]
intercept = true

[model]
num_states = 2
emissions = {Bernoulli = {prior = {Ridge = 2.0}}}
transitions = {Stationary = {prior = {Sticky = {stay = 8, move = 2}}}}
initial = {Initial = {prior = {Dirichlet = [2, 2]}}}

[fit]
num_restarts = 1
tol = 1e-4

[select]
num_states = [1, 2]
folds = 2
num_restarts = 1
"""

# What covariates are in it, and what they may be: columns, or terms, as in Python.
COLUMNS = 'covariates = ["stim"]\nintercept = true'
TERMS = 'covariates = [{Standardised = "stim"}, {PreviousChoice = "choice"}]'
HISTORY = [covariates.Standardised("stim"), covariates.PreviousChoice("choice")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study with its table, and its fit."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    stim = rng.normal(size=120)
    side = np.repeat([2.0, -2.0, 2.0, -2.0], 30)
    choice = (rng.uniform(size=120) < 1 / (1 + np.exp(-stim * side))).astype(int)
    table = pd.DataFrame({"day": np.repeat([1, 2], 60), "stim": stim, "choice": choice})
    table.to_csv(folder / "trials.csv", index=False)
    table[:60].to_parquet(folder / "first.parquet")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    said = call(folder, "fit", "study.toml", "--out", "fit.nc", "--json")
    assert said.exit_code == 0, said.output
    (folder / "fit.json").write_text(said.stdout, encoding="utf-8")
    return folder


def call(folder, command, *arguments):
    """A command, whose arguments that name files are taken from the folder."""
    paths = [str(folder / a) if "." in a and a[0] != "-" else a for a in arguments]
    return CliRunner().invoke(main, [command, *paths])


@pytest.fixture
def known(folder):
    """The same by the package's functions: fit, data."""
    return gh.load(folder / "fit.nc"), read_study(folder / "study.toml").read_data()


def test_a_fit_is_that_of_the_package(folder, known):
    fit, data = known
    told = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    first = gh.Initial(torch.distributions.Dirichlet(torch.tensor([2.0, 2.0])))
    moves = gh.Stationary(gh.priors.Sticky(stay=8, move=2))
    model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(2.0)), moves, first)
    own = gh.fit(model, data, num_restarts=1, tol=1e-4, progress=False)
    assert told["log_joint"] == fit.log_joint == pytest.approx(own.log_joint, abs=1e-9)
    assert told["status"] == own.status.name
    weights = told["parameters"]["emissions.weights"]
    assert weights["coords"]["covariate"]["data"] == ["stim", "intercept"]
    np.testing.assert_allclose(weights["data"], own.parameters["emissions.weights"])
    assert json.loads(call(folder, "info", "fit.nc", "--json").stdout) == told
    assert "stim" in call(folder, "info", "fit.nc").stdout


def test_the_number_of_states_is_chosen_as_the_package_chooses(folder, known):
    said = call(folder, "select", "study.toml", "--out", "chosen.nc", "--json")
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    make_model = read_study(folder / "study.toml").make_model
    options = {"folds": 2, "num_restarts": 1, "progress": False}
    own = gh.analysis.choose_num_states(make_model, known[1], [1, 2], **options)
    assert told["best"] == own.best
    assert gh.load(folder / "chosen.nc").log_joint == own.fit.log_joint
    column = "held_out_bits_per_step"
    bits = [told["table"][str(k)][column] for k in (1, 2)]
    assert bits == pytest.approx(own.table[column].tolist())


def test_decoding_writes_a_row_a_step(folder, known):
    fit, data = known
    for out in ("decoded.csv", "decoded.parquet"):
        said = call(folder, "decode", "study.toml", "fit.nc", "--out", out)
        assert said.exit_code == 0, said.output
    table = pd.read_csv(folder / "decoded.csv")
    decoded = fit.decode(data)
    for name in ("smoothed", "predicted"):
        columns = table[[f"{name}_prob_0", f"{name}_prob_1"]]
        np.testing.assert_allclose(columns, decoded[f"{name}_probs"])
    assert (table["viterbi_state"] == decoded["viterbi_states"].values).all()
    assert pd.read_parquet(folder / "decoded.parquet").shape == table.shape


def test_data_and_fits_are_checked(folder, known):
    fit, data = known
    said = call(folder, "check", "study.toml", "fit.nc", "--json")
    report = fit.check(data)
    assert [
        row["code"] for row in json.loads(said.stdout)
    ] == report.table.index.tolist()
    assert said.exit_code == (FOUND if report.warns else 0)
    twice = STUDY.replace('["stim"]', '["stim", "same"]').replace(".csv", "2.csv")
    twice = twice.replace("{Bernoulli = {prior = {Ridge = 2.0}}}", '"Bernoulli"')
    (folder / "twice.toml").write_text(twice, encoding="utf-8")
    table = pd.read_csv(folder / "trials.csv")
    table.assign(same=2 * table["stim"]).to_csv(folder / "trials2.csv", index=False)
    said = call(folder, "check", "twice.toml")
    assert said.exit_code == FOUND and "same" in said.stdout


def test_a_score_is_of_the_data_asked_for(folder, known):
    fit, data = known
    whole = call(folder, "score", "study.toml", "fit.nc", "--json")
    assert json.loads(whole.stdout)["nats_per_step"] == fit.score(data)
    part = call(folder, "score", "study.toml", "fit.nc", "--data", "first.parquet")
    assert part.stdout.strip() == f"{fit.score(data.subset([0])):.6f}"


@pytest.mark.parametrize("picture", list(PICTURES))
def test_every_picture_is_drawn(folder, picture):
    where = ("study.toml", "fit.nc", "--out", f"{picture}.png")
    said = call(folder, "plot", *where, "--picture", picture)
    assert said.exit_code == 0, said.output
    assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_a_simulation_is_that_of_the_package(folder, known):
    fit, data = known
    where = ("study.toml", "fit.nc", "--out", "simulated.csv", "--seed", "3")
    assert call(folder, "simulate", *where, "--num-samples", "2").exit_code == 0
    table = pd.read_csv(folder / "simulated.csv")
    drawn, states = fit.simulate(data, 3, num_samples=2)
    assert table["choice"].tolist() == drawn.emissions.tolist()
    assert table["state"].tolist() == states.tolist()
    assert table["copy"].tolist() == [1] * 120 + [2] * 120
    assert [name.endswith(" (2)") for name in table["session"].astype(str)] == (
        (table["copy"] == 2).tolist()
    )


def test_what_a_simulation_would_overwrite_is_refused(folder):
    text = STUDY.replace('["stim"]', '["copy"]').replace(".csv", "3.csv")
    (folder / "copy.toml").write_text(
        text.replace("tol = 1e-4", "num_iters = 1"), encoding="utf-8"
    )
    table = pd.read_csv(folder / "trials.csv").rename(columns={"stim": "copy"})
    table.to_csv(folder / "trials3.csv", index=False)
    assert call(folder, "fit", "copy.toml", "--out", "copy.nc").exit_code in (0, 3)
    said = call(folder, "simulate", "copy.toml", "copy.nc", "--out", "copied.csv")
    assert said.exit_code == 1 and "got 'copy'; rename it" in said.stderr
    assert not (folder / "copied.csv").exists()


@pytest.mark.parametrize(
    ("written", "design", "moves"),
    [
        ('formula = "scale(stim) + lag(choice) - 1"', HISTORY, HISTORY),
        (TERMS, HISTORY, HISTORY),
        (f"{TERMS}\ntransition_formula = 'lag(choice) - 1'", HISTORY, HISTORY[1:]),
        (
            'covariates = {Design = [{Interaction = ["stim", "Intercept"]}]}',
            [covariates.Interaction("stim", covariates.Intercept())],
            None,
        ),
        (
            'covariates = "stim"\ntransition_covariates = ["stim", "Intercept"]',
            ["stim"],
            ["stim", covariates.Intercept()],
        ),
    ],
)
def test_a_study_writes_a_design(folder, written, design, moves):
    (folder / "design.toml").write_text(
        STUDY.replace(COLUMNS, written), encoding="utf-8"
    )
    data = read_study(folder / "design.toml").read_data()
    own = gh.Sequences.from_dataframe(
        pd.read_csv(folder / "trials.csv"),
        session="day",
        emissions="choice",
        covariates=covariates.Design(*design),
        transition_covariates=covariates.Design(*(moves or design)),
    )
    assert data.covariate_names == own.covariate_names
    assert data.transition_covariate_names == own.transition_covariate_names
    # Old versions of pandas round what a text says by a bit.
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
    close(data.covariates, own.covariates)
    close(data.transition_covariates, own.transition_covariates)
    part = read_study(folder / "design.toml").read_data(folder / "first.parquet")
    close(part.covariates, own.subset([0]).covariates)


def test_what_is_called_as_a_column_is_that_column(folder):
    table = pd.read_csv(folder / "trials.csv").rename(columns={"stim": "Missing"})
    table.to_csv(folder / "trials4.csv", index=False)
    text = STUDY.replace('["stim"]', '["Missing", "Intercept"]').replace(
        ".csv", "4.csv"
    )
    (folder / "missing.toml").write_text(
        text.replace("intercept = true", ""), encoding="utf-8"
    )
    data = read_study(folder / "missing.toml").read_data()
    assert data.covariate_names == ("Missing", "intercept")


def test_a_study_with_a_design_is_fitted_and_simulated(folder):
    text = STUDY.replace(COLUMNS, TERMS).replace("tol = 1e-4", "num_iters = 2")
    (folder / "loop.toml").write_text(text, encoding="utf-8")
    assert call(folder, "fit", "loop.toml", "--out", "loop.nc").exit_code in (0, 3)
    fit, data = (
        gh.load(folder / "loop.nc"),
        read_study(folder / "loop.toml").read_data(),
    )
    said = call(folder, "score", "loop.toml", "loop.nc", "--data", "first.parquet")
    assert said.stdout.strip() == f"{fit.score(data.subset([0])):.6f}"
    where = ("loop.toml", "loop.nc", "--out", "loop.csv", "--closed-loop")
    assert call(folder, "simulate", *where).exit_code == 0
    drawn, _ = fit.simulate(data, 0, history=True)
    table = pd.read_csv(folder / "loop.csv")
    assert table["choice"].tolist() == drawn.emissions.tolist()
    column = drawn.covariates[:, 1].tolist()
    assert table["previous_choice"].tolist() == column


def test_a_leak_is_a_finding(folder):
    table = pd.read_csv(folder / "trials.csv")
    table.loc[[0, 60], "choice"] = [0, 1]
    before = table.groupby("day")["choice"].shift()
    table["before"] = before.fillna(table["choice"]).astype(int)
    table.to_csv(folder / "trials5.csv", index=False)
    text = STUDY.replace('["stim"]', '["stim", "before"]').replace(".csv", "5.csv")
    (folder / "leak.toml").write_text(text, encoding="utf-8")
    said = call(folder, "check", "leak.toml", "--json")
    assert said.exit_code == FOUND
    (leak,) = [row for row in json.loads(said.stdout) if row["code"] == "leak"]
    assert leak["severity"] == "warning" and "'before'" in leak["sentence"]
    assert 'take {PreviousChoice = "choice"}, which is 0' in leak["sentence"]
    assert "Warning" not in said.stderr
    said = call(folder, "decode", "leak.toml", "fit.nc", "--out", "leak.csv")
    assert "Warning: covariates must not hold the emission" in said.stderr
    assert 'take {PreviousChoice = "choice"}, which is 0' in said.stderr
    clean = text.replace('"before"]', '{PreviousChoice = "choice"}]')
    (folder / "leak.toml").write_text(clean, encoding="utf-8")
    said = call(folder, "check", "leak.toml")
    assert said.exit_code == 0 and "leak:" not in said.output


def test_advice_is_written_as_a_study_file_writes_it():
    said = "give a prior, such as gh.priors.Ridge(1.0), gh.Stationary() or Foo(1)"
    expected = 'give a prior, such as {Ridge = 1.0}, "Stationary" or Foo(1)'
    assert in_study_words(said) == expected
    # What is written is read as what was meant.
    written = in_study_words("covariates.Lags('stim', 2, first_lag=1)")
    (term,) = design("x", [tomllib.loads(f"x = {written}")["x"]], ["stim"]).terms
    assert repr(term) == repr(covariates.Lags("stim", 2, first_lag=1))
    for kept in (
        "covariates.Lags(..., first_lag=1)",
        "lambda K: GLMHMM(K, Ridge(2))",
        "give Dirichlet(2, 2)",
        "give Normal(0, 1e999)",
    ):
        assert in_study_words(kept) == kept


def test_a_session_is_refused_by_pictures_of_all(folder):
    where = ("study.toml", "fit.nc", "--out", "no.png", "--session", "1")
    for picture in ("weights", "occupancy"):
        said = call(folder, "plot", *where, "--picture", picture)
        assert said.exit_code == 1 and not (folder / "no.png").exists()
        assert "--session must be left out of pictures of all" in said.output


def test_a_fit_that_did_not_converge_is_written_and_told(folder):
    short = STUDY.replace("tol = 1e-4", "num_iters = 1")
    (folder / "short.toml").write_text(short, encoding="utf-8")
    said = call(folder, "fit", "short.toml", "--out", "short.nc")
    assert said.exit_code == NOT_CONVERGED and "Warning: " in said.stderr
    assert gh.load(folder / "short.nc").status is gh.Status.MAX_ITERS


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[data]", "[dat]", "must be among data, model, fit, select, got 'dat'; did"),
        ("num_states", "states", "must be among num_states, emissions"),
        ('session = "day"', "", "must have path, session, emissions, got no session"),
        ("{Ridge = 2.0}", '{Ridge = "x"}', "model.emissions.Bernoulli.prior.Ridge: "),
        ("{Bernoulli = ", "{Bernouli = ", "did you mean"),
        ('"day"', '"dya"', "dya"),
        ("trials.csv", "trials.txt", "must be a file .csv, .csv.gz or .parquet"),
        ('"trials.csv"', '"none.csv"', "no file "),
        ('"trials.csv"', '"none/a.csv"', "no folder "),
        ('"trials.csv"', "3", "path must be a path in quotation marks, got 3; write"),
        ("tol = 1e-4", "checkpoint = 3", "checkpoint must be a path in quotation"),
        ("Dirichlet = [2, 2]", "Dirichlet = 2", "model.initial.Initial.prior.Dirich"),
        (
            "Dirichlet = [2, 2]",
            "Dirichlet = [2, -1]",
            "numbers above 0, such as [2, 2]",
        ),
        ("Dirichlet = [2, 2]", "Dirichlet = [2, 2, 2]", "give 2 concentrations"),
        ("num_restarts", "n_restarts", "did you mean 'num_restarts'"),
        ('"stim"]', '{PreviosChoice = "choice"}]', "mean 'PreviousChoice'?"),
        ('["stim"]', '[{Lags = "stim"}]', "covariates.Lags: num_lags (int) must be"),
        ("intercept = true", 'formula = "stim"', "must have covariates or formula"),
        (COLUMNS, 'formula = "stm"', "did you mean 'stim'?"),
        (COLUMNS, 'formula = "choice"', "'choice' at its own step"),
        ("[fit]", "[fit", "study must be a TOML file"),
    ],
)
def test_what_a_study_cannot_say_is_a_sentence(folder, old, new, sentence):
    assert old in STUDY
    (folder / "wrong.toml").write_text(STUDY.replace(old, new), encoding="utf-8")
    said = call(folder, "fit", "wrong.toml", "--out", "wrong.nc")
    assert said.exit_code == 1 and "Traceback" not in said.output
    assert said.stderr.startswith("Error: ") and sentence in said.stderr
    assert not (folder / "wrong.nc").exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("score", "study.toml", "fit.nc", "--data", "none.csv"), "none.csv; name one"),
        (("score", "study.toml", "fit.nc", "--data", "empty.csv"), "got empty.csv: "),
        (("info", "none.nc"), "Error: path must name a file that fit.save wrote"),
        (("check", "binary.toml"), "study must be a TOML file, got binary.toml: "),
        (("fit", "study.toml", "--out", "none/fit.nc"), "Error: path must be where"),
    ],
)
def test_what_a_command_cannot_use_is_a_sentence(folder, command, sentence):
    (folder / "empty.csv").write_text("", encoding="utf-8")
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    said = call(folder, *command)
    assert said.exit_code == 1 and isinstance(said.exception, SystemExit)
    assert said.stderr.startswith("Error: ") and sentence in said.stderr
    assert "Errno" not in said.stderr


def test_a_session_is_named_or_numbered(folder, known):
    named = [commands.named(session, known[1]) for session in ("1", "0", "3", "day")]
    assert named == ["1", 0, "3", "day"]
    where = ("study.toml", "fit.nc", "--picture", "timeline", "--out", "one.png")
    assert call(folder, "plot", *where, "--session", "0").exit_code == 0
    said = call(folder, "plot", *where, "--session", "3")
    assert said.exit_code == 1 and isinstance(said.exception, SystemExit)
    assert said.stderr == (
        "Error: session must be one of the data, got '3'; there are 1, 2\n"
    )


def test_classes_are_written_within_classes():
    normal = {"Normal": {"loc": 0.0, "scale": 2.0}}
    value = {"Outputs": {"choice": "Bernoulli", "rt": {"Gaussian": {"prior": normal}}}}
    family = component("model.emissions", value, gh.Emission)
    assert isinstance(family.choice, gh.Bernoulli)
    assert family.rt.prior.scale == 2.0


def test_the_module_is_a_command():
    command = [sys.executable, "-m", "glmhmm_pyro", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert gh.__version__ in said.stdout


def test_a_fit_and_a_choice_go_on_from_checkpoints(folder, tmp_path, monkeypatch):
    kept, fits = tmp_path / "kept.nc", []
    arguments = ("study.toml", "--out", str(tmp_path / "fit.nc"), "--checkpoint")
    first = call(folder, "fit", *arguments, str(kept), "--json")
    assert first.exit_code == 0, first.output
    assert gh.load(kept).log_joint == json.loads(first.stdout)["log_joint"]
    again = call(folder, "fit", *arguments, str(kept), "--json")
    assert again.stdout == first.stdout
    text = STUDY.replace("tol = 1e-4", 'tol = 1e-4\ncheckpoint = "own.nc"')
    text = text.replace("folds = 2", 'folds = 2\ncheckpoint = "folds"')
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = (str(tmp_path / "study.toml"), "--data", "trials.csv")
    out = ("--out", str(tmp_path / "chosen.nc"))
    assert call(folder, "fit", *study, *out).exit_code == 0
    assert gh.load(tmp_path / "own.nc").log_joint == gh.load(kept).log_joint
    chosen = call(folder, "select", *study, *out)
    assert chosen.exit_code == 0, chosen.output
    monkeypatch.setattr(gh.analysis.refits, "fit", lambda *a, **o: fits.append(a))
    assert call(folder, "select", *study, *out).stdout == chosen.stdout and not fits
    refused = call(folder, "fit", *arguments, str(tmp_path / "folds"))
    assert refused.exit_code == 1 and "whose call is 'choose_num_states'" in (
        refused.output
    )

"""Categories, products, splines, imputation, and formulas against formulaic's own."""

import builtins

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    Design,
    Factor,
    Imputed,
    Interaction,
    Intercept,
    Lags,
    Missing,
    PreviousChoice,
    Spline,
    Standardised,
    StepInSession,
)


def trials(seed=0, lengths=(12, 8)):
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    return pd.DataFrame(
        {
            "day": np.repeat([f"d{i}" for i in range(len(lengths))], lengths),
            "stim": rng.normal(size=steps),
            "light": rng.normal(size=steps),
            "block": rng.permutation(np.resize(["left", "none", "right"], steps)),
            "odds": rng.permutation(np.resize([0.2, 0.5, 0.8], steps)),
            "trial": np.concatenate([np.arange(n) for n in lengths]),
            "choice": rng.permutation(np.resize([0, 1], steps)),
        }
    )


@pytest.mark.parametrize(
    "formula",
    [
        "stim + C(block)",
        "0 + stim + C(block)",
        "C(block) * stim",
        "C(block):stim",
        "stim + C(block):stim",
        "C(block) * C(odds)",
        "0 + C(block) * C(odds)",
        "C(block):C(odds) + C(odds)",
        "bs(trial, 4) + stim:light",
        "bs(trial, df=5, degree=2):C(block) + light",
        "0 + bs(stim, df=6, include_intercept=True)",
        "(stim + light + C(block)) ** 2",
        "0 + stim:C(block):C(odds) + C(odds)",
    ],
)
def test_a_formula_has_the_columns_of_formulaics_own_matrix(formula):
    formulaic = pytest.importorskip("formulaic")
    table = trials()
    expected = np.asarray(formulaic.model_matrix(formula, table), dtype=float)
    found = Design.from_formula(formula).fit_transform(table, session="day")
    assert found.shape == expected.shape

    def sorted_columns(matrix):
        return matrix[:, np.lexsort(matrix.round(9))]

    np.testing.assert_allclose(
        sorted_columns(np.asarray(found)), sorted_columns(expected), atol=1e-9
    )


def test_a_formula_is_the_terms_that_it_names():
    pytest.importorskip("formulaic")
    one = Design.from_formula(
        "stim + C(block, reference='none') + stim:lag(choice) + bs(trial, 4)"
        " + lag(light, 2) + lags(light, 3) + scale(bs(step(), 3)) + `odds`"
        " + impute(light, by=0.5) + missing(stim)"
    )
    assert one.terms == (
        Intercept(),
        Design("stim").terms[0],
        Factor("block", reference="none"),
        Interaction("stim", PreviousChoice("choice")),
        Spline("trial", 4),
        Lags("light", 1, first_lag=2, name="lag(light, 2)"),
        Lags("light", 3, first_lag=1, name="lags(light, 3)"),
        Standardised(Spline(StepInSession(), 3)),
        Design("odds").terms[0],
        *Design(Imputed("light", by=0.5), Missing("stim")).terms,
    )


def test_unreadable_formulas_are_refused_in_a_sentence(monkeypatch):
    pytest.importorskip("formulaic")
    for formula, words in {
        "choice ~ stim": "covariates alone.*leave out what stands before '~'",
        "stim + bss(trial, 4)": r"made of columns and of C, .*'bss\(...\)'.*'bs'",
        "np.log(stim)": "got 'np.log.*make it a column",
        "stim +": "formulaic can read, got 'stim .'",
    }.items():
        with pytest.raises(ValueError, match=words):
            Design.from_formula(formula)
    plain = builtins.__import__

    def refuses(name, *rest, **more):
        if name.partition(".")[0] == "formulaic":
            raise ImportError("none here")
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuses)
    with pytest.raises(ImportError, match=r"install glmhmm-pyro\[formula\]"):
        Design.from_formula("stim")


def test_unseen_sessions_are_read_by_the_levels_and_knots_of_training():
    train, test = trials(), trials(1, (6,)).assign(block="right", odds=0.8, trial=50)
    test["stim"] = [-90.0, 90.0, 0.0, 0.1, 0.2, 0.3]
    design = Design(Factor("block"), Factor("odds", full=True), Spline("stim", 4))
    design.fit(train, session="day")
    found = design.transform(test)
    assert found["block_right"].eq(1).all() and found["block_none"].eq(0).all()
    assert found[["odds_0.2", "odds_0.5", "odds_0.8"]].to_numpy().tolist() == (
        [[0, 0, 1]] * 6
    )
    # Beyond what was seen a spline is what it is at the end.
    ends = train.assign(stim=train["stim"].clip(lower=train["stim"].max()))
    splines = [name for name in design.names if "spline" in name]
    np.testing.assert_array_equal(found[splines].iloc[0], 0.0)
    np.testing.assert_allclose(
        found[splines].iloc[1], design.transform(ends)[splines].iloc[0]
    )
    with pytest.raises(ValueError, match="levels 0.2, 0.5, 0.8.*0.3 .row 0, 1, 2|0.3"):
        design.transform(test.assign(odds=0.3))
    with pytest.raises(ValueError, match="labels among left, none, right, got 'up'"):
        design.transform(test.assign(block="up"))


def test_categories_of_a_fold_stay_and_numbers_are_learnt_anew():
    table = trials(0, (10, 10, 10))
    table.loc[table["day"] == "d0", "block"] = "left"
    table.loc[[3, 12], "light"] = np.nan

    def design():
        return Design(
            Factor("block"),
            Spline("stim", 4),
            Imputed("light"),
            Lags(Imputed("light", by="median"), 2, name="past"),
            Interaction(Standardised(Imputed("light")), "stim"),
        )

    data = design().sequences(table, session="day", emissions="choice")
    again = data.refit_design(["d0", "d1"])
    seen = table[table["day"] != "d2"]
    known = table["block"].astype("category")
    by_hand = design().fit(seen.assign(block=known), session="day")
    np.testing.assert_allclose(
        again.covariates, by_hand.transform(table.assign(block=known)), atol=1e-12
    )
    assert not np.allclose(again.covariates[:, 2:6], data.covariates[:, 2:6])
    names = list(data.covariate_names)
    filled = data.covariates[[3, 12], names.index("light")]
    np.testing.assert_allclose(filled, table["light"].mean())
    median = data.covariates[3, names.index("past_lag0")]
    np.testing.assert_allclose(median, table["light"].median())
    only = data.refit_design(["d0"])
    assert "block_right" in only.covariate_names
    fixed = Design(Imputed("light", by=0.5), Missing("light"))
    data = fixed.sequences(table, session="day", emissions="choice")
    assert data.refit_design(["d0"]) is data
    assert data.covariates[[3, 12]].tolist() == [[0.5, 1.0]] * 2
    assert data.covariates[:, 1].sum() == 2


def test_a_missing_covariate_is_named_by_column_and_rows():
    table = trials()
    table.loc[[1, 4, 7], "light"] = np.nan
    table.loc[2, "stim"] = np.inf
    told = {"session": "day", "emissions": "choice"}
    words = r"4 NaN or infinite.*'stim' \(row 2\), 'light' \(rows 1, 4, 7\).*Imputed"
    with pytest.raises(ValueError, match=words):
        gh.Sequences.from_dataframe(table, covariates=["stim", "light"], **told)
    words = r"column 'light'.*3 NaN.*\(rows 1, 4, 7\); fill them in by Imputed\('light"
    with pytest.raises(ValueError, match=words):
        gh.Sequences.from_dataframe(table, covariates=Design("light"), **told)
    with pytest.raises(ValueError, match="by must be 'mean', 'median'.*got 'mode'"):
        Imputed("light", by="mode")
    empty = table.assign(light=np.nan)
    with pytest.raises(ValueError, match="must have a value.*imputed by its mean"):
        Design(Imputed("light")).fit(empty, session="day")
    with pytest.raises(TypeError, match="numeric to be imputed, got labels"):
        Design(Imputed("block")).fit(table, session="day")


def test_products_with_the_past_are_made_anew_in_a_simulation():
    table = trials()
    design = Design(
        Interaction("stim", PreviousChoice("choice"), Factor("block")),
        Standardised(Interaction(Lags("light", 2), PreviousChoice("choice"))),
        Interaction("stim", "light"),
        "stim",
    )
    data = gh.Sequences.from_dataframe(
        table, session="day", emissions="choice", covariates=design
    )
    model = gh.GLMHMM(1, gh.Bernoulli(prior=gh.priors.Ridge(1.0)))
    fit = gh.fit(model, data, "map", num_restarts=1, progress=False)
    drawn, _ = fit.simulate(data, seed=1, history=True)
    assert not torch.equal(drawn.emissions, data.emissions)
    expected = design.transform(table.assign(choice=drawn.emissions.numpy()))
    np.testing.assert_allclose(drawn.covariates, expected, atol=1e-12)
    with pytest.raises(ValueError, match="must know its other columns in all rows"):
        fit.simulate(data, history=design)
    outputs = table.assign(other=1 - table["choice"])
    both = Design(Interaction(PreviousChoice("choice"), PreviousChoice("other")))
    data = both.sequences(outputs, session="day", emissions=["choice", "other"])
    with pytest.raises(ValueError, match="past of one emission.*choice, other"):
        both.replay(data)


def test_emissions_of_the_same_step_are_refused_in_new_terms_too():
    table = trials()
    for term in (
        Factor("choice"),
        Spline("choice", 2, degree=1),
        Interaction("stim", "choice"),
        Missing("choice"),
    ):
        with pytest.raises(ValueError, match="'choice' at its own step"):
            Design(term).sequences(table, session="day", emissions="choice")


def test_terms_that_say_nothing_are_refused():
    table = trials().assign(one=1.0)
    with pytest.raises(ValueError, match="two levels or more.*got 1 and"):
        Design(Factor("one")).fit(table, session="day")
    with pytest.raises(ValueError, match="reference='up'; name one of these"):
        Design(Factor("block", reference="up")).fit(table, session="day")
    with pytest.raises(ValueError, match="quantiles that differ.*fewer bases"):
        Design(Spline("odds", 9)).fit(table, session="day")
    with pytest.raises(ValueError, match="num_bases must be at least 4"):
        Spline("stim", 3, full=True)
    with pytest.raises(ValueError, match="two terms or more, got 1"):
        Interaction("stim")


def test_a_session_counts_its_own_steps():
    found = Design(StepInSession(), Factor("block")).fit_transform(
        trials(), session="day"
    )
    assert found["step"].tolist() == [*range(12), *range(8)]

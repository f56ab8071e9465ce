"""Whatever has a name is matched by it: later data in any order, and what lacks one."""

import itertools

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from families import normals
from made_fits import made_fit, with_posterior

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.sequences import MatchingWarning

LENGTHS = [7, 5]
CUES = ["cue", "noise", "bias"]
MOVES = ["speed", "heat"]
SIDES = ["left", "none", "right"]


def table(seed=0):
    """Two days of three kinds of choices, with all that drives them."""
    rng = np.random.default_rng(seed)
    steps = sum(LENGTHS)
    columns = {name: rng.normal(size=steps) for name in CUES + MOVES}
    return pd.DataFrame(
        {
            "day": np.repeat(["mon", "tue"], LENGTHS),
            "choice": rng.choice(["left", "none", "right"], steps),
            "rt": rng.normal(size=steps),
            "vigour": rng.normal(size=steps),
            "age": np.repeat([0.3, -1.0], LENGTHS),
            "weight": np.repeat([1.0, 2.0], LENGTHS),
            **columns,
        }
    )


def dataset(df, cues=CUES, moves=MOVES, traits=("age", "weight"), **options):
    options = {"emissions": "choice", **options}
    return gh.Sequences.from_dataframe(
        df,
        session="day",
        covariates=list(cues),
        transition_covariates=None if moves is None else list(moves),
        initial_covariates=list(traits),
        **options,
    )


def random_fit(model, data, seed=0):
    """A fit whose every parameter differs from every other."""
    model.bind(data)
    program = Program.of(model, data)
    vector = normals(program.coordinates.size, seed=seed)
    return made_fit(model, data, program.coordinates.unpack(vector))


def driven(family=None):
    family = gh.Categorical(3) if family is None else family
    return gh.GLMHMM(2, family, gh.InputDriven(), gh.InitialGLM())


def numbers_of(fit, data):
    """What every method of a fit says of data, sessions in their order."""
    yield fit.distribution(data).log_prob_per_session(fit.as_fitted(data).emissions)
    yield fit.decode(data).smoothed_probs.values
    yield fit.decode(data).viterbi_states.values
    predicted = fit.predict(data)
    yield getattr(predicted, "to_array", lambda: predicted)().values
    yield fit.sample_states(data, 2)
    yield fit.score(data)
    yield fit.score(data, marginal=True)
    drawn, states = fit.simulate(data, seed=3)
    yield drawn.emissions
    yield states
    idata = fit.to_arviz(data, ["log_likelihood", "observed_data"])
    yield idata.log_likelihood["per_step"].values
    yield idata.observed_data["y"].values


def assert_alike(fit, data, other):
    for a, b in zip(numbers_of(fit, data), numbers_of(fit, other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


ORDERS = list(itertools.permutations(CUES))


@pytest.mark.parametrize("cues", ORDERS[1:])
def test_covariates_in_any_order_give_the_same_numbers(cues):
    df = table()
    fit = random_fit(driven(), dataset(df))
    assert_alike(fit, dataset(df), dataset(df, cues, MOVES[::-1], ("weight", "age")))


def test_what_is_not_read_is_passed_over():
    df = table()
    fit = random_fit(driven(), dataset(df))
    more = dataset(df, ["rt", *CUES[::-1]], ["vigour", *MOVES], ("rt", "weight", "age"))
    assert_alike(fit, dataset(df), more)
    assert fit.as_fitted(more).covariate_names == tuple(CUES)
    still = random_fit(gh.GLMHMM(2, gh.Categorical(3)), dataset(df))
    # Stationary transitions read no covariates.
    assert_alike(still, dataset(df), dataset(df, moves=["rt"]))


@pytest.mark.parametrize("moves", [MOVES, None])
def test_what_no_part_reads_may_be_lacking(moves):
    df, (first, *others) = table(), CUES
    family = gh.Categorical(3, covariates=others)
    parts = gh.InputDriven(covariates=MOVES[1:]), gh.InitialGLM(covariates=["age"])
    parts = parts if moves else ()
    fit = random_fit(gh.GLMHMM(2, family, *parts), dataset(df, moves=moves))
    less = dataset(df, others[::-1], moves and MOVES[1:], ["age"])
    assert_alike(fit, dataset(df, moves=moves), less)
    with pytest.raises(ValueError, match=f"must have '{others[0]}', which") as caught:
        fit.score(dataset(df, [first, *others[1:]], moves))
    assert "did you mean" not in str(caught.value)
    with pytest.raises(ValueError, match=f"must have {len(CUES)} columns"):
        fit.score(gh.Sequences(df["choice"].to_numpy(), df[others].to_numpy()))


def test_transitions_that_share_the_covariates_find_theirs_among_other_ones():
    df = table()
    fit = random_fit(driven(), dataset(df, moves=None))
    shared = dataset(df, ["vigour", *CUES[::-1]], moves=None)
    assert_alike(fit, dataset(df, moves=None), shared)
    laid_out = fit.as_fitted(shared)
    assert laid_out.transition_covariates is laid_out.covariates
    apart = dataset(df, CUES[::-1], [*CUES[1:], CUES[0]])
    assert_alike(fit, dataset(df, moves=None), apart)


def test_transitions_of_their_own_find_theirs_among_shared_covariates():
    df = table()
    fit = random_fit(driven(), dataset(df))
    shared = dataset(df, MOVES[::-1] + CUES[::-1], moves=None)
    assert_alike(fit, dataset(df), shared)


@pytest.mark.parametrize("names", list(itertools.permutations(SIDES)))
def test_classes_in_any_order_give_the_same_numbers(names):
    df = table()
    fit = random_fit(driven(), dataset(df))
    assert_alike(fit, dataset(df), dataset(df, class_names=list(names)))


def test_classes_that_never_came_shift_no_others():
    df = table()
    fit = random_fit(driven(), dataset(df))
    few = df[df["choice"] != "left"]
    kept = dataset(few, class_names=["left", "none", "right"])
    assert dataset(few).class_names == ("none", "right")
    assert_alike(fit, kept, dataset(few))


def test_masked_steps_have_no_class_that_could_be_unknown():
    df = table()
    fit = random_fit(driven(), dataset(df))
    hidden = df.assign(seen=np.arange(len(df)) % 3 > 0)
    strange = hidden.assign(choice=hidden["choice"].where(hidden["seen"], "left"))
    names = ["right", "none", "left"]
    assert_alike(
        fit,
        dataset(hidden, mask="seen"),
        dataset(strange, mask="seen", class_names=names),
    )


@pytest.mark.parametrize(
    "family",
    [
        gh.Gaussian(2, "full"),
        gh.Outputs(rt=gh.Gaussian(), vigour=gh.components.StudentT()),
    ],
    ids=["two of one family", "a family each"],
)
def test_outputs_in_any_order_give_the_same_numbers(family):
    df = table()
    df.loc[[2, 5], "rt"] = np.nan
    df.loc[[5, 9], "vigour"] = np.nan
    first = dataset(df, emissions=["rt", "vigour"])
    fit = random_fit(driven(family), first)
    assert_alike(fit, first, dataset(df, emissions=["vigour", "rt"]))
    with_more = dataset(df, emissions=["age", "vigour", "rt"])
    assert_alike(fit, first, with_more)


def test_one_output_is_found_among_several():
    df = table()
    fit = random_fit(driven(gh.Gaussian()), dataset(df, emissions="rt"))
    several = dataset(df, emissions=["vigour", "rt"])
    assert_alike(fit, dataset(df, emissions="rt"), several)


def test_errors_covariances_and_evidence_go_by_name():
    df = table()
    model = gh.GLMHMM(1, gh.Categorical(3, prior=gh.priors.Ridge(1.0)))
    first, other = dataset(df), dataset(df, CUES[::-1])
    fit = gh.fit(model, first, "map", num_restarts=1, progress=False)
    for wanted, found in [
        (fit.standard_errors(first), fit.standard_errors(other)),
        ({"": fit.covariance(first)}, {"": fit.covariance(other)}),
        ({"": fit.summary(first)}, {"": fit.summary(other)}),
    ]:
        for name, value in wanted.items():
            assert found[name].equals(value)
    evidence = [gh.analysis.log_evidence(fit, data) for data in (first, other)]
    assert evidence[0] == pytest.approx(evidence[1], abs=1e-12)


def test_a_fit_of_the_same_model_to_reordered_data_is_the_same_fit():
    df = table()
    model = gh.GLMHMM(1, gh.Categorical(3, prior=gh.priors.Ridge(1.0)))
    model.bind(dataset(df))
    fits = [
        gh.fit(model, dataset(df, cues), num_restarts=1, progress=False)
        for cues in (CUES, CUES[::-1])
    ]
    assert torch.equal(*(fit.params["emissions.weights"] for fit in fits))
    assert fits[1].parameters["emissions.weights"].covariate.values.tolist() == CUES


def test_alignment_lays_data_out_for_both_fits():
    df = table()
    first = random_fit(driven(), dataset(df))
    cues = CUES[::-1]
    order = [CUES.index(name) for name in cues]
    params = first.params | {
        "emissions.weights": first.params["emissions.weights"][..., order]
    }
    second = made_fit(driven(), dataset(df, cues), params).permuted([1, 0])
    for data in (dataset(df), dataset(df, cues)):
        again = second.aligned(first, data)
        np.testing.assert_allclose(
            again.decode(data).smoothed_probs, first.decode(data).smoothed_probs
        )


def test_a_saved_fit_keeps_the_names(tmp_path):
    df = table()
    for moves, unnamed in ((MOVES, False), (None, True)):
        data = dataset(df, moves=moves)
        if unnamed:
            data = gh.Sequences(df["choice"].to_numpy(), df[CUES].to_numpy())
        fit = random_fit(gh.GLMHMM(2, gh.Categorical(3), gh.InputDriven()), data)
        fit.save(tmp_path / "fit.nc")
        loaded = gh.load(tmp_path / "fit.nc")
        assert loaded.labels == fit.labels and loaded.model.layout == fit.model.layout
        if not unnamed:
            assert_alike(loaded, data, dataset(df, CUES[::-1], MOVES[::-1]))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"cues": ["cue", "noise", "rt"]}, ["covariates", "'bias'", "'rt'"]),
        ({"cues": ["cue", "bias"]}, ["covariates", "'noise'", "'cue', 'bias'"]),
        ({"cues": ["cue", "Noise", "bias"]}, ["'noise'", "did you mean 'Noise'"]),
        ({"moves": ["speed"]}, ["transition_covariates", "'heat'"]),
        ({"traits": ["age"]}, ["initial_covariates", "'weight'"]),
    ],
)
def test_a_name_that_is_lacking_is_named(options, words):
    df = table().assign(Noise=1.0)
    fit = random_fit(driven(), dataset(df))
    with pytest.raises(ValueError) as caught:
        fit.score(dataset(df, **options))
    for word in words:
        assert word in str(caught.value)


def test_a_class_that_the_fit_lacks_may_be_named_if_it_never_comes():
    df = table()
    fit = random_fit(driven(), dataset(df))
    more = dataset(df, class_names=["none", "up", "right", "left"])
    assert_alike(fit, dataset(df), more)


def test_an_unknown_class_is_named():
    df = table()
    fit = random_fit(driven(), dataset(df))
    df.loc[3, "choice"] = "Left"
    with pytest.raises(ValueError, match="left, none, right, got 'Left'; did you mean"):
        fit.decode(dataset(df))


def test_another_output_is_no_output_of_the_fit():
    df = table()
    fit = random_fit(driven(gh.Gaussian()), dataset(df, emissions="rt"))
    with pytest.raises(ValueError, match="emissions must have 'rt'.*got 'vigour'"):
        fit.score(dataset(df, emissions="vigour"))


def arrays(df, **options):
    """The same data without any names but those given."""
    return gh.Sequences(
        df["choice"].map({"left": 0, "none": 1, "right": 2}).to_numpy(),
        df[CUES].to_numpy(),
        lengths=LENGTHS,
        transition_covariates=df[MOVES].to_numpy(),
        initial_covariates=df.loc[[0, 7], ["age", "weight"]].to_numpy(),
        **options,
    )


def test_what_has_no_name_is_taken_by_its_place_with_a_note():
    df = table()
    named, unnamed = dataset(df), arrays(df)
    for known, later in ((named, unnamed), (unnamed, named)):
        fit = random_fit(driven(), known)
        with pytest.warns(MatchingWarning) as caught:
            scored = fit.score(later)
        assert scored == fit.score(known)
        said = "".join(str(warning.message) for warning in caught)
        for words in ("covariates are matched by place", "classes", "emissions"):
            assert words in said
        assert ("cue as x0" if known is unnamed else "x0 as cue") in said


def test_data_without_names_on_both_sides_are_no_cause_for_a_note():
    df = table()
    fit = random_fit(driven(), arrays(df))
    assert_alike(fit, arrays(df), arrays(df))


def test_an_intercept_is_known_by_its_name_beside_columns_without_any():
    df = table()
    data = arrays(df).add_intercept(["covariates"])
    fit = random_fit(driven(), data)
    first = np.column_stack([np.ones(12), df[CUES]])
    names = ["intercept", "cue", "noise", "bias"]
    later = data.replace(covariates=first, covariate_names=names)
    with pytest.warns(MatchingWarning, match="cue as x0, noise as x1, bias as x2"):
        assert fit.score(later) == fit.score(data)


@pytest.mark.parametrize("number", [2, 4])
def test_columns_without_names_must_be_as_many(number):
    df = table()
    fit = random_fit(driven(), arrays(df))
    other = arrays(df).replace(covariates=np.ones((12, number)))
    with pytest.raises(ValueError, match=f"3 columns.*got {number}"):
        fit.score(other)


def test_numbers_beyond_the_classes_with_names_are_refused():
    df = table()
    fit = random_fit(driven(), dataset(df))
    later = arrays(df).replace(emissions=np.full(12, 3), emission_names=["choice"])
    with pytest.raises(ValueError, match="left, none, right, got numbers up to 3"):
        fit.score(later.replace(covariates=df[CUES]))


def test_xarray_and_pandas_carry_the_names_of_their_columns():
    df = table()
    labelled = xr.DataArray(
        df[CUES[::-1]].to_numpy(), coords={"c": CUES[::-1]}, dims=("t", "c")
    )
    data = arrays(df)
    options = {"transition_covariates": df[MOVES[::-1]], "lengths": LENGTHS}
    options["initial_covariates"] = df.loc[[7, 0], ["weight", "age"]].set_axis(
        ["tue", "mon"]
    )
    options["session_names"] = ["mon", "tue"]
    for covariates in (labelled, df[CUES[::-1]]):
        later = gh.Sequences(df["choice"], covariates, **options)
        assert later.covariate_names == tuple(CUES[::-1])
        assert later.emission_names == ("choice",)
        fit = random_fit(driven(), dataset(df))
        assert_alike(fit, dataset(df), later)
    assert data.generated_names["covariate_names"] == {"x0", "x1", "x2"}


def written(data):
    """A model of the user's own, which reads covariates by their place."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    stay = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]).double()
    logits = data.covariates @ weights.to(torch.float64).T
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2).double(),
        stay.log(),
        dist.Normal(logits, 1.0),
        data.lengths,
        data.mask,
    )
    pyro.sample("y", hidden, obs=data.emissions.double())


def test_a_model_of_the_users_own_gets_data_as_it_was_fitted_to(tmp_path):
    df = table()
    first = dataset(df, emissions="rt")
    fit = gh.fit(written, first, "map", num_restarts=1, progress=False)
    other = dataset(df, [*CUES[1:], CUES[0]], emissions=["vigour", "rt"])
    assert fit.score(first) == pytest.approx(fit.log_likelihood / 12, rel=1e-12)
    assert fit.score(other) == fit.score(first)
    assert fit.standard_errors(other)["weights"].equals(
        fit.standard_errors(first)["weights"]
    )
    drawn, _ = fit.simulate(other, seed=1)
    assert torch.equal(drawn.emissions, fit.simulate(first, seed=1)[0].emissions)
    fit.save(tmp_path / "fit.nc")
    assert gh.load(tmp_path / "fit.nc", written).score(other) == fit.score(first)
    with pytest.raises(ValueError, match="covariates must have 'bias'.*'vigour'"):
        fit.score(dataset(df, ["cue", "noise", "vigour"], emissions="rt"))


def test_draws_of_a_posterior_go_by_name_too():
    df = table()
    fit = random_fit(driven(gh.Categorical(3)), dataset(df))
    fit = with_posterior(fit, dataset(df), num_draws=3)
    other = dataset(df, CUES[::-1], MOVES[::-1], ("weight", "age"))
    assert_alike(fit, dataset(df), other)


def test_pictures_show_data_as_the_fit_reads_them():
    df = table()
    fit = random_fit(driven(), dataset(df))
    other = dataset(df, CUES[::-1], class_names=["right", "left", "none"])
    for draw in (gh.plotting.timeline, gh.plotting.predictions):
        lines = []
        for data in (dataset(df), other):
            ax = draw(fit, data)
            lines.append([line.get_xydata() for line in ax.lines])
            lines[-1] += [
                np.vstack(c.get_segments())
                for c in ax.collections[-3:]
                if hasattr(c, "get_segments") and len(c.get_segments())
            ]
        assert len(lines[0]) == len(lines[1]) > 0
        for one, two in zip(*lines):
            np.testing.assert_array_equal(one, two)

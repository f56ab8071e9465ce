"""States put in order and named: every array of a fit follows, and says so."""

from dataclasses import replace

import matplotlib
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from inference_cases import clear_data
from made_fits import categorical_fit, with_posterior
from test_chain_states import VALUES, make_model, short_data

import glmhmm_pyro as gh
from glmhmm_pyro import plotting
from glmhmm_pyro.inference.fits.files import read_record, write_record
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.program.labels import named_draws

matplotlib.use("Agg")

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def case():
    """Three states with driven transitions, some draws, and the data."""
    fit, data = categorical_fit(3, 3, gh.InputDriven())
    return with_posterior(fit, data, num_draws=4), data


def by_state(fit, data):
    """All arrays that have states on their axes, by name."""
    decoded = fit.decode(data)
    names = ("filtered_probs", "predicted_probs", "smoothed_probs")
    draws = named_draws(fit.model, fit.draws, fit.labels)
    return {
        **{name: decoded[name] for name in names},
        **fit.parameters,
        **{f"draws of {name}": array for name, array in draws.items()},
        **{f"exported {name}": v for name, v in exported(fit, data).items()},
    }


def exported(fit, data):
    group = fit.to_arviz(data, groups=["posterior"])["posterior"]
    return {name: group[name] for name in group.data_vars}


def test_names_stand_on_every_axis_of_states(case):
    fit, data = case
    assert fit.state_names == ("0", "1", "2")
    named = fit.named(NAMES)
    assert named.state_names == NAMES and named.labels.states == NAMES
    arrays = by_state(named, data)
    assert len(arrays) >= 12
    for name, before in by_state(fit, data).items():
        after = arrays[name]
        axes = [d for d in after.dims if d in ("state", "origin", "destination")]
        assert axes, name
        np.testing.assert_array_equal(after.values, before.values)
        for axis in axes:
            assert after[axis].values.tolist() == list(NAMES), name
            one = after.sel({axis: "b"}).values
            np.testing.assert_array_equal(one, before.sel({axis: 1}).values)
    weights = named.summary().query("parameter == 'emissions.weights'")
    assert weights["state"].tolist() == [n for n in NAMES for _ in range(9)]
    assert "3 states (a, b, c)" in repr(named) and "(0" not in repr(fit)


def test_names_go_with_the_states_when_these_change_numbers(case):
    fit, data = case
    named = fit.named(NAMES)
    turned = named.permuted([2, 0, 1])
    assert turned.state_names == ("c", "a", "b")
    after = by_state(turned, data)
    for name, before in by_state(named, data).items():
        axes = [d for d in before.dims if d in ("state", "origin", "destination")]
        same = after[name].sel({axis: list(NAMES) for axis in axes})
        np.testing.assert_allclose(same.values, before.values, atol=1e-12, err_msg=name)


def test_aligned_keeps_the_names_of_a_fit_or_takes_those_of_the_reference(case):
    fit, data = case
    turned = fit.permuted([1, 2, 0])
    reference = fit.named(NAMES)
    assert turned.aligned(reference, data).state_names == NAMES
    assert fit.aligned(reference, data).state_names == NAMES
    own = turned.named(["x", "y", "z"]).aligned(reference, data)
    assert own.state_names == ("z", "x", "y")
    smoothed = fit.decode(data).smoothed_probs.values
    assert fit.aligned(smoothed, data).labels.states is None


def test_rules_are_filled_in_order_each_among_the_states_that_are_left():
    fit, _ = categorical_fit(3, covariate_names=["stim", "bias", "past"])
    weights = [[5.0, -1.0, 0.0], [4.0, -2.0, 0.0], [1.0, 3.0, 0.0]]
    params = {**fit.params, "emissions.weights": torch.tensor(weights)[:, None]}
    fit = replace(fit, params=params)
    rules = {
        "biased left": ("bias", "smallest"),
        "engaged": ("stim", "largest"),
        "biased right": ("bias", "largest"),
    }
    named = fit.named(rules)
    assert named.state_names == tuple(rules)
    found = named.parameters["emissions.weights"].sel(covariate="stim")
    # States 1, 0, 2; state 0 would be "engaged" whatever came first.
    assert found.values[..., -1].tolist() == [4.0, 5.0, 1.0]
    again = {
        "first": ("stim", "largest"),
        "second": ("stim", "largest"),
        "third": (lambda fit: [0, 0, 1], "largest"),
    }
    greedy = fit.named(again)
    found = greedy.parameters["emissions.weights"].sel(covariate="stim")
    assert found.values[..., -1].tolist() == [5.0, 4.0, 1.0]


def test_order_by_weights_by_occupancy_and_by_a_function(case):
    fit, data = case
    weights = fit.parameters["emissions.weights"].sel(covariate="x1")
    for number, name in ((1, "1"), (2, 2)):
        sizes = weights.values[:, number]
        down = fit.ordered("x1", class_=name).parameters["emissions.weights"]
        up = fit.ordered("x1", class_=name, descending=False)
        up = up.parameters["emissions.weights"]
        found = down.sel(covariate="x1").values[:, number]
        np.testing.assert_array_equal(found, np.sort(sizes)[::-1])
        found = up.sel(covariate="x1").values[:, number]
        np.testing.assert_array_equal(found, np.sort(sizes))
    shares = fit.decode(data).smoothed_probs.values.mean(0)
    by_share = fit.ordered("occupancy", data).decode(data).smoothed_probs.values.mean(0)
    np.testing.assert_allclose(by_share, np.sort(shares)[::-1], atol=1e-12)
    stays = fit.ordered(lambda fit: fit.params["emissions.weights"][:, 0, 0])
    first = stays.params["emissions.weights"][:, 0, 0]
    assert first.tolist() == sorted(first.tolist(), reverse=True)
    named = fit.named(NAMES).ordered(lambda fit: [2, 3, 1])
    assert named.state_names == ("b", "a", "c")


def test_a_covariate_of_two_outputs_is_asked_for():
    families = {"side": gh.Bernoulli(), "speed": gh.Gaussian()}
    values = np.array([[0, 0.5], [1, -1.0], [1, 2.0], [0, 1.0]])
    data = gh.Sequences(
        values, [[1.0], [2.0], [0.5], [1.0]], emission_names=["side", "speed"]
    )
    params = {
        "initial.probs": [0.5, 0.5],
        "transitions.probs": [[0.9, 0.1], [0.1, 0.9]],
        "emissions.side.weights": [[1.0], [2.0]],
        "emissions.speed.weights": [[2.0], [1.0]],
        "emissions.speed.scale": [1.0, 1.0],
    }
    params = {n: torch.tensor(v).double() for n, v in params.items()}
    fit = fit_at(gh.GLMHMM(2, gh.Outputs(**families)), data, params, "by hand")
    with pytest.raises(ValueError, match="parameter must say.*emissions.side.weights"):
        fit.ordered("x0")
    for name in ("emissions.side.weights", "emissions.speed.weights"):
        found = fit.ordered("x0", parameter=name).parameters[name]
        assert found.values.ravel().tolist() == [2.0, 1.0]


def test_names_are_saved_and_older_files_load(case, tmp_path):
    fit, data = case
    path = tmp_path / "fit.nc"
    named = fit.named(NAMES)
    named.save(path)
    loaded = gh.load(path)
    assert loaded.state_names == NAMES
    assert loaded.decode(data).equals(named.decode(data))
    arrays, facts, _ = read_record(path)
    labels = next(iter(facts["labels"].values()))
    for field in ("states", "num_states", "state_axes"):
        del labels[field]
    write_record(path, arrays, facts)
    assert gh.load(path).state_names == ("0", "1", "2")


def test_pictures_name_the_states(case):
    fit, data = case
    named = fit.named(("engaged", "left $", "right"))
    shown = [
        plotting.weights(named),
        plotting.timeline(named, data),
    ]
    for ax in shown:
        texts = [t.get_text() for t in ax.get_legend().get_texts()]
        assert texts == ["engaged", r"left \$", "right"]
    ticks = [t.get_text() for t in plotting.transitions(named).get_yticklabels()]
    assert ticks[0] == "engaged \N{RIGHTWARDS ARROW} left \\$"
    matrix = plotting.transitions(named, data=data)
    assert [t.get_text() for t in matrix.get_xticklabels()][0] == "engaged"
    plain = [t.get_text() for t in plotting.weights(fit).get_legend().get_texts()]
    assert plain == ["state 0", "state 1", "state 2"]
    matplotlib.pyplot.close("all")


def test_states_of_a_chain_with_more_states_have_names():
    data = short_data()
    fit = fit_at(make_model(), data, VALUES, "by hand").named(["low", "high"])
    turned = fit.ordered(lambda fit: [0, 1])
    assert turned.state_names == ("high", "low")
    for one in (fit, turned):
        smoothed = one.decode(data).smoothed_probs.sel(state="low")
        direct = fit_at(make_model(), data, VALUES, "by hand").decode(data)
        np.testing.assert_allclose(smoothed, direct.smoothed_probs[:, 0], atol=1e-12)
        leave = one.parameters["transitions.leave"].sel(state="low")
        assert float(leave) == VALUES["transitions.leave"][0]


def own(data):
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    loc = pyro.sample("loc", dist.Normal(zero, 2 * one).expand([2]).to_event(1))
    stay = pyro.sample("stay", dist.Dirichlet(torch.ones(2, 2).double()).to_event(1))
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2).double(),
        stay.log()[None],
        dist.Bernoulli(logits=loc.expand(data.num_steps, 2)),
        data.lengths,
    )
    pyro.sample("y", hidden, obs=data.emissions)


def test_a_model_of_the_users_own_names_what_the_user_says(tmp_path):
    data = clear_data(lengths=(9, 4))
    params = {
        "loc": torch.tensor([2.0, -1.0]).double(),
        "stay": torch.tensor([[0.9, 0.1], [0.3, 0.7]]).double(),
    }
    fit = fit_at(own, data, params, "by hand")
    assert fit.state_names == ("0", "1")
    named = fit.named(["up", "down"])
    assert named.decode(data).smoothed_probs.sel(state="up").shape == (13,)
    assert named.parameters["loc"].dims == ("axis_0",)
    axes = {"loc": (0,), "stay": (0, 1)}
    rules = {
        "up": ("occupancy", "smallest"),
        "down": (lambda fit: fit.params["loc"], "smallest"),
    }
    shares = fit.decode(data).smoothed_probs.values.mean(0)
    named = fit.named(rules, data, state_axes=axes)
    first = int(shares.argmin())
    assert float(named.parameters["loc"].sel(state="up")) == params["loc"][first]
    moves = named.parameters["stay"].sel(origin="up", destination="down")
    assert float(moves) == params["stay"][first, 1 - first]
    # Said once, where states stand is known from then on.
    assert named.permuted([1, 0]).state_names == ("down", "up")
    assert named.permuted([1, 0]).params["loc"][1] == params["loc"][first]
    named.save(tmp_path / "own.nc")
    loaded = gh.load(tmp_path / "own.nc", own)
    assert loaded.parameters["stay"].equals(named.parameters["stay"])
    with pytest.raises(ValueError, match="state_axes must say"):
        fit.ordered(lambda fit: [0, 1])
    with pytest.raises(ValueError, match="by must be one of occupancy"):
        fit.ordered("x0")
    with pytest.raises(ValueError, match="fit must have one number of states"):
        replace(fit, labels=replace(fit.labels, num_states=None)).named(["up", "down"])

"""Several outputs at once: each family reads its own columns, covariates and mask."""

import numpy as np
import pytest
import torch
from component_cases import bound, within
from families import (
    constrained,
    enumerated_log_joint,
    hidden_markov,
    log_joint,
    normals,
    random_free,
    random_params,
    with_sets,
)
from made_fits import made_fit
from torch.distributions import Dirichlet, Gamma, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.inference.steps.steps import ComponentSteps, m_step
from glmhmm_pyro.optim import LBFGSOptions

EVEN = Dirichlet(torch.full((2,), 2.0))
RIDGE = Normal(0.0, 2.0)
QUICK = {"num_restarts": 2, "progress": False}


def three_outputs():
    """A choice, two correlated wings that read one covariate, and a time."""
    return gh.Outputs(
        choice=gh.Bernoulli(prior=RIDGE),
        wings=gh.Gaussian(2, "full"),
        rt=gh.Gaussian(prior=RIDGE),
        columns={"wings": ["left", "right"]},
        covariates={"wings": ["one"], "rt": ["one", "x"]},
    )


def made_data(lengths=(40, 30), seed=0):
    """Two clear states; an entry in nine is missing, and a whole step."""
    steps = sum(lengths)
    state = (torch.arange(steps) // 10 % 2).double()
    noise = normals(steps, 5, seed=seed)
    choice = (noise[:, 0] + 2 * state - 1 > 0).double()
    wings = state[:, None] + 0.5 * noise[:, 1:3]
    rt = 5 + state + 0.3 * noise[:, 3] + noise[:, 4]
    values = torch.stack([choice, wings[:, 0], rt, wings[:, 1]], -1)
    values.view(-1)[::9] = torch.nan
    values[7] = torch.nan
    return gh.Sequences(
        values,
        torch.stack([noise[:, 4], torch.ones_like(state)], -1),
        lengths=list(lengths),
        covariate_names=["x", "one"],
        emission_names=["choice", "left", "rt", "right"],
    )


@pytest.fixture(scope="module")
def data():
    return made_data()


@pytest.fixture(scope="module")
def fitted(data):
    model = gh.GLMHMM(2, three_outputs(), gh.Stationary(EVEN), gh.Initial(EVEN))
    return gh.fit(model, data, method="map", **QUICK)


def test_the_table_is_the_sum_of_the_families_on_their_own_columns(data):
    model, _ = bound(three_outputs(), data=data, states=2)
    params = random_params(model, data)
    found = within(model, params, lambda: model.emissions.log_probs(data))
    alone = {
        "choice": (["choice"], [0, 1], gh.Bernoulli()),
        "wings": (["left", "right"], [1], gh.Gaussian(2, "full")),
        "rt": (["rt"], [1, 0], gh.Gaussian()),
    }
    total = torch.zeros_like(found)
    for name, (columns, covariates, family) in alone.items():
        places = [data.emission_names.index(c) for c in columns]
        mask = data.mask[:, places].squeeze(-1)
        one = gh.Sequences(
            torch.where(mask, data.emissions[:, places].squeeze(-1), torch.nan),
            data.covariates[:, covariates],
        )
        single, _ = bound(family, data=one, states=2)
        own = {
            n.replace(f"emissions.{name}.", "emissions."): v for n, v in params.items()
        }
        total += within(single, own, lambda: single.emissions.log_probs(one))
    torch.testing.assert_close(found, total, rtol=1e-12, atol=1e-12)
    assert (found[7] == 0).all()


def test_every_output_is_explained_with_its_family_and_what_it_reads():
    text = gh.GLMHMM(2, three_outputs()).explain()
    shown = [line[28:] for line in text.split("\n")[3:6]]
    assert shown == [
        "choice[t] ~ Bernoulli(z[t], x[t])",
        "(left, right)[t] ~ Gaussian(z[t], one of x[t])",
        "rt[t] ~ Gaussian(z[t], one, x of x[t])",
    ]


def test_the_states_summed_out_agree_with_the_states_enumerated():
    data = made_data((5, 1, 9))
    model, _ = bound(three_outputs(), gh.InputDriven(), data=data, states=2)
    free = random_free(model, data, seed=7)
    found = []
    for function in (log_joint, enumerated_log_joint):
        value = function(model, data, constrained(model, data, free))
        found.append((value.detach(), *torch.autograd.grad(value, list(free.values()))))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_values_that_are_not_observed_change_no_number(data):
    model, _ = bound(three_outputs(), data=data, states=2)
    params = random_params(model, data)
    spoilt = data.emissions.clone()
    spoilt[~data.mask] = -1e6
    other = data._derive(emissions=spoilt)
    logs, steps = [], LBFGSOptions(max_iters=5)
    for each in (data, other):
        hidden = hidden_markov(model, each, params)
        logs.append(hidden.log_prob_per_session(each.emissions))
    assert torch.equal(*logs) and hidden.num_observed == data.num_steps - 1
    sets, e_step = with_sets([params]), ComponentSteps(model, data, None)
    e_step.expect([params])
    counts = e_step.counts
    for name, component in model.components.items():
        view = component.view(data)
        updated = MStep(component, view, steps)(
            getattr(counts, component.counts_of),
            {n: v for n, v in sets.items() if n.startswith(f"{name}.")},
        )
        assert all(torch.isfinite(value).all() for value in updated.values())


def test_an_m_step_of_all_outputs_raises_the_expected_log_joint(data):
    model, _ = bound(three_outputs(), data=data, states=2)
    params = [random_params(model, data, seed=s) for s in (1, 2)]
    sets, e_step = with_sets(params), ComponentSteps(model, data, None)
    _, before = e_step.expect(params)
    steps = {n: MStep(c, c.view(data)) for n, c in model.components.items()}
    assert list(steps)[2:] == ["emissions.choice", "emissions.wings", "emissions.rt"]
    updated = m_step(steps, e_step.counts, sets)
    _, after = e_step.expect([{n: v[i] for n, v in updated.items()} for i in (0, 1)])
    assert (np.array(after) > np.array(before) + 1.0).all()


def test_outputs_are_predicted_simulated_renumbered_and_drawn(fitted, data):
    assert fitted.status is gh.Status.CONVERGED
    predicted = fitted.predict(data)
    assert list(predicted) == ["choice", "wings", "rt"]
    assert predicted["choice"].dims == ("step", "choice_class")
    assert predicted["wings"].shape == (70, 2) and predicted["rt"].shape == (70,)
    np.testing.assert_allclose(predicted["choice"].sum("choice_class"), 1.0)
    simulated, _ = fitted.simulate(data, seed=1)
    assert set(simulated.emissions[:, 0].tolist()) == {0.0, 1.0}
    assert simulated.emission_names == data.emission_names
    turned = fitted.permuted([1, 0])
    assert turned.score(data) == pytest.approx(fitted.score(data), rel=1e-12)
    assert (
        turned.aligned(fitted, data)
        .params["emissions.rt.scale"]
        .equal(fitted.params["emissions.rt.scale"])
    )
    gh.plotting.weights(fitted, parameter="emissions.choice.weights")
    gh.plotting.timeline(fitted, data)


def test_every_number_has_a_name_and_a_standard_error(fitted, data):
    shown = fitted.parameters
    rt, wings = shown["emissions.rt.weights"], shown["emissions.wings.weights"]
    assert rt.coords["covariate"].values.tolist() == ["one", "x"]
    assert wings.coords["covariate"].values.tolist() == ["one"]
    assert np.isfinite(fitted.summary(data)["standard_error"]).all()
    exported = fitted.to_arviz(data)
    names = exported["posterior_predictive"].coords["y_dim_0"].values
    assert names.tolist() == list(data.emission_names)
    seen = ~np.isnan(exported["observed_data"]["y"].values)
    np.testing.assert_array_equal(seen, data.mask)


def test_a_fit_of_several_outputs_is_saved_and_loaded(fitted, data, tmp_path):
    fitted.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.score(data) == fitted.score(data)
    assert again.summary().equals(fitted.summary())


def test_em_from_any_start_ends_where_map_ends(fitted, data):
    for init in ("glm", "kmeans", fitted.params):
        fit = gh.fit(fitted.model, data, init=init, tol=1e-11, **QUICK)
        assert fit.log_joint == pytest.approx(fitted.log_joint, abs=1e-4)


def test_a_posterior_of_several_outputs_is_drawn(fitted, data):
    some = {"init": fitted.params, "num_restarts": 1, "progress": False}
    drawn = gh.fit(fitted.model, data, method="laplace", num_samples=10, **some)
    assert torch.isfinite(drawn.draws["emissions.wings.correlation"]).all()


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("method", ["svi", "nuts"])
def test_draws_heed_the_mask_of_every_output(method, data):
    family = gh.Outputs(
        choice=gh.Bernoulli(prior=RIDGE),
        rt=gh.Gaussian(prior=Normal(0.0, 9.0), scale_prior=Gamma(3.0, 3.0)),
    )
    model = gh.GLMHMM(2, family, gh.Stationary(EVEN), gh.Initial(EVEN))
    values = torch.where(data.mask, data.emissions, torch.nan)[:, [0, 2]]
    both = gh.Sequences(
        values, data.covariates, lengths=[40, 30], emission_names=["choice", "rt"]
    )
    assert (both.mask[:, 0] != both.mask[:, 1]).any()
    spoilt = both._derive(emissions=torch.where(both.mask, both.emissions, 7.0))
    options = {"num_steps": 15, "num_samples": 5, "num_restarts": 1}
    if method == "nuts":
        options = {"num_warmup": 2, "num_samples": 3, "max_tree_depth": 2}
        options |= {"num_chains": 1, "num_restarts": 1}
    draws = [
        gh.fit(model, each, method=method, seed=0, progress=False, **options).draws
        for each in (both, spoilt)
    ]
    for name, values in draws[0].items():
        assert torch.isfinite(values).all() and values.equal(draws[1][name])


def test_a_family_given_twice_is_two_and_stays_as_it_was():
    one = gh.Gaussian()
    both = gh.Outputs(a=one, b=one)
    assert both.a is not both.b and one.selection is None
    assert both.b.selection.outputs == ("b",)


def test_a_collapsed_output_is_named():
    values = torch.stack([normals(60), torch.zeros(60).double()], -1)
    values[30:, 1] = normals(30, seed=1) + 6
    data = gh.Sequences(values, emission_names=["a", "b"])
    model = gh.GLMHMM(2, gh.Outputs(a=gh.Gaussian(), b=gh.Gaussian()))
    with pytest.warns(gh.ConvergenceWarning, match="emissions.b.scale runs to 0 in"):
        gh.fit(model, data, init="glm", **QUICK)


@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda: gh.Outputs(), ValueError, "at least one output"),
        (lambda: gh.Outputs(a=gh.Stationary()), TypeError, "got Stationary for 'a'"),
        (lambda: gh.Outputs(bind=gh.Bernoulli()), ValueError, "free and identifiers"),
        (lambda: gh.Outputs(a=gh.Gaussian(2)), ValueError, "the 2 emissions of 'a'"),
        (
            lambda: gh.Outputs(a=gh.Bernoulli(), columns={"b": ["c"]}),
            ValueError,
            "columns must be given for outputs, a, got 'b'",
        ),
        (
            lambda: gh.Outputs(a=gh.Bernoulli(), covariates={"a": "x"}),
            TypeError,
            r"must be a list of names, got 'x'",
        ),
    ],
)
def test_outputs_that_make_no_sense_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    "family, match",
    [
        (lambda: gh.Outputs(choice=gh.Bernoulli()), "the outputs choice, each once"),
        (
            lambda: gh.Outputs(
                choice=gh.Bernoulli(),
                wings=gh.Gaussian(2),
                rt=gh.Gaussian(),
                columns={"wings": ["left", "right"]},
                covariates={"rt": ["speed"]},
            ),
            "covariates must have a column 'speed', got x, one",
        ),
        (
            lambda: gh.Outputs(
                choice=gh.Bernoulli(),
                wings=gh.Gaussian(2),
                rt=gh.Poisson(),
                columns={"wings": ["left", "right"]},
            ),
            r"output 'rt': emissions must be counts 0, 1, 2, ... for Poisson\(\)",
        ),
    ],
)
def test_data_that_do_not_fit_the_outputs_are_refused(family, match, data):
    with pytest.raises(ValueError, match=match):
        bound(family(), data=data, states=2)


@pytest.mark.parametrize("mask", [None, [True, False, True, True]])
def test_a_single_output_is_what_its_family_is_alone(mask):
    data = gh.Sequences(
        [0.5, 9.0, 0.1, -0.3], normals(4, 2), mask=mask, emission_names=["rt"]
    )
    params = {"weights": normals(2, 2), "scale": torch.tensor([0.5, 2.0]).double()}
    found = []
    families = {
        "": gh.Gaussian(prior=RIDGE),
        "rt.": gh.Outputs(rt=gh.Gaussian(prior=RIDGE)),
    }
    for name, family in families.items():
        model = gh.GLMHMM(2, family)
        values = {f"emissions.{name}{n}": v for n, v in params.items()}
        values["initial.probs"] = torch.tensor([0.3, 0.7]).double()
        values["transitions.probs"] = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double()
        fit = made_fit(model, data, values)
        hidden = fit.distribution(data)
        found.append((hidden.log_prob(data.emissions), fit.decode(data).smoothed_probs))
        assert fit.simulate(data)[0].emissions.shape == (4,)
    assert found[0][0] == found[1][0] and (found[0][1] == found[1][1]).all()
    assert set(fit.predict(data).data_vars) == {"rt"}


def test_outputs_take_sets_and_are_discrete_only_if_all_of_them_are():
    def own(shape):
        return Normal(0.0, 1.0).expand(shape)

    binary, normal = gh.Bernoulli(), gh.Gaussian()
    assert gh.Outputs(a=binary, b=normal).takes_sets()
    assert not gh.Outputs(a=gh.Bernoulli(prior=own), b=normal).takes_sets()
    for other, is_discrete in ((normal, False), (binary, True)):
        model, data = bound(gh.Outputs(a=binary, b=other), data=pair_of_labels())
        hidden = model.hidden_markov_at(random_params(model, data), data)
        assert hidden.emission_dist.support.is_discrete == is_discrete


def pair_of_labels():
    """Two outputs of 0 and 1."""
    values = [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    return gh.Sequences(values, normals(3, 2), emission_names=["a", "b"])

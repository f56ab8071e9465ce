"""States renumbered: in parameters of every component, in draws, in fits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import (
    EMISSIONS,
    INITIALS,
    TRANSITIONS,
    hidden_markov,
    normals,
    random_data,
    random_params,
)
from inference_cases import clear_data, penalised
from made_fits import made_fit

import glmhmm_pyro as gh
from glmhmm_pyro.inference.draws.alignment import (
    best_order,
    number_draws,
    renumber_draws,
)
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering

TURNED = torch.tensor([2, 0, 1])
EXACT = {"rtol": 0, "atol": 1e-10}


def cases():
    """Every component once beside the others' first."""
    first = [next(iter(kind)) for kind in (EMISSIONS, TRANSITIONS, INITIALS)]
    every = {(e, *first[1:]) for e in EMISSIONS}
    every |= {(first[0], t, i) for t in TRANSITIONS for i in INITIALS}
    return sorted(every)


@pytest.fixture(params=cases(), ids=" ".join)
def case(request):
    emissions, transitions, initial = request.param
    parts = (EMISSIONS[emissions](), TRANSITIONS[transitions](), INITIALS[initial]())
    model, data = gh.GLMHMM(3, *parts), random_data(emissions)
    model.bind(data)
    params = random_params(model, data)
    return model, data, params, Renumbering(model, params, None)


def test_renumbered_parameters_give_the_same_emissions_in_every_component(case):
    model, data, params, renumbering = case
    for order in itertools.permutations(range(3)):
        order = torch.tensor(order)
        turned = renumbering(params, order)
        before = hidden_markov(model, data, params)
        after = hidden_markov(model, data, turned)
        y = data.emissions.double()
        torch.testing.assert_close(after.log_prob(y), before.log_prob(y), **EXACT)
        probs, expected = after.smoothed_probs(y), before.smoothed_probs(y)[:, order]
        torch.testing.assert_close(probs, expected, **EXACT)
        for name in params:
            assert turned[name].shape == params[name].shape


def test_renumbering_there_and_back_changes_nothing(case):
    _, _, params, renumbering = case
    back = renumbering(renumbering(params, TURNED), TURNED.argsort())
    for name, value in params.items():
        torch.testing.assert_close(back[name], value, **EXACT)


def test_renumbering_draws_is_renumbering_each_of_them(case):
    model, data, params, renumbering = case
    other = random_params(model, data, seed=5)
    stacked = {n: torch.stack([params[n], other[n]])[None] for n in params}
    turned = renumbering(stacked, TURNED)
    for number, single in enumerate((params, other)):
        for name, value in renumbering(single, TURNED).items():
            assert torch.equal(turned[name][0, number], value)


def test_a_component_without_all_its_states_must_say_how_they_move():
    class Half(gh.Stationary):
        def __init__(self):
            super().__init__()
            self.extra = gh.Site(("state", 2))

    component = Half()
    with pytest.raises(ValueError, match="Half.extra must hold all 3 states.*override"):
        component.permuted("extra", torch.zeros(2), TURNED)


def test_the_best_order_is_the_best_of_all_orders():
    probs, reference = normals(2, 30, 4).softmax(-1)
    order = best_order(reference, probs)
    agreement = {
        other: float((reference * probs[:, list(other)]).sum())
        for other in itertools.permutations(range(4))
    }
    assert tuple(order.tolist()) == max(agreement, key=agreement.get)


def test_alignment_undoes_what_turned_the_draws():
    data, model = clear_data("categorical"), penalised("categorical", states=3)
    params = {n: v for n, v in random_params(model, data).items()}
    renumbering = Renumbering(model, params, None)
    draws = {
        name: value + 0.01 * normals(2, 6, *value.shape, seed=len(name))
        for name, value in params.items()
    }
    for name in ("initial.probs",):
        draws[name] = draws[name].abs() / draws[name].abs().sum(-1, keepdim=True)
    mixed = {name: value.clone() for name, value in draws.items()}
    turned = [(0, 1), (0, 4), (1, 5)]
    for place in turned:
        single = {name: value[place] for name, value in draws.items()}
        for name, value in renumbering(single, TURNED).items():
            mixed[name][place] = value
    program = Program.of(model, data)
    numbering = number_draws(program, params, mixed, renumbering)
    assert numbering.num_relabelled == len(turned)
    assert numbering.by_label is None and not numbering.notes
    aligned = renumber_draws(mixed, numbering.within, renumbering)
    for name in draws:
        torch.testing.assert_close(aligned[name], draws[name], **EXACT)


def own_fit():
    """A fit of three states with a history of weights and draws."""
    data, model = clear_data(), penalised(states=3)
    model.bind(data)
    params = random_params(model, data)
    fit = made_fit(model, data, params)
    draws = {n: torch.stack([v, v + 0.0])[None] for n, v in fit.params.items()}
    fit = replace(
        fit,
        weights=(fit.params, fit.params),
        posterior=gh.inference.Posterior(draws),
        unbounded=("emissions in state 2 are predicted without error",),
    )
    return fit, data


def test_a_fit_is_renumbered_in_every_array():
    fit, data = own_fit()
    turned = fit.permuted([2, 0, 1])
    before, after = fit.decode(data), turned.decode(data)
    expected = before.smoothed_probs.values[:, [2, 0, 1]]
    np.testing.assert_allclose(after.smoothed_probs.values, expected, **EXACT)
    assert turned.score(data) == pytest.approx(fit.score(data), abs=1e-12)
    for name, value in turned.params.items():
        assert not torch.equal(value, fit.params[name])
        assert all(torch.equal(w[name], value) for w in turned.weights)
        draws = turned.posterior.draws[name]
        assert torch.equal(draws, value.expand(draws.shape))
    assert turned.unbounded[0].startswith("before its states were renumbered: ")


def test_a_fit_is_aligned_to_another_or_to_probabilities():
    fit, data = own_fit()
    turned = fit.permuted([1, 2, 0])
    probs = fit.decode(data).smoothed_probs.values
    for reference in (fit, probs):
        aligned = turned.aligned(reference, data)
        for name, value in fit.params.items():
            torch.testing.assert_close(aligned.params[name], value, **EXACT)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [0.0, 1.0, 2.0]])
def test_orders_that_are_no_permutation_are_refused(order):
    fit, data = own_fit()
    with pytest.raises(ValueError, match="order must hold every state from 0 to 2"):
        fit.permuted(order)
    with pytest.raises(ValueError, match="reference must have probabilities of shape"):
        fit.aligned(np.ones((3, 3)), data)


def test_sites_of_ones_own_are_renumbered_along_the_axes_declared():
    params = {"weights": normals(3, 2), "stay": normals(4, 3, 3), "mean": normals(3)}
    axes = {"weights": (0,), "stay": (-2, -1)}
    turned = Renumbering(None, params, axes)(params, TURNED)
    assert torch.equal(turned["weights"], params["weights"][TURNED])
    assert torch.equal(turned["stay"], params["stay"][:, TURNED][..., TURNED])
    assert torch.equal(turned["mean"], params["mean"])
    assert Renumbering(None, params, None).unknown == list(params)
    with pytest.raises(ValueError, match="must be axes of the 3 states, got axis -1"):
        Renumbering(None, params, {"weights": (1,)})(params, TURNED)


@pytest.mark.parametrize(
    "axes, match",
    [
        ({"bias": (0,)}, "must name sites.*weights.*got 'bias'"),
        ({"weights": (2,)}, "must be axes of a value of shape"),
    ],
)
def test_state_axes_that_cannot_be_are_refused(axes, match):
    with pytest.raises(ValueError, match=match):
        Renumbering(None, {"weights": normals(3, 2)}, axes)


def test_a_hyperparameter_with_states_is_left_to_the_user():
    data, model = clear_data(), penalised(states=3)
    model.bind(data)
    params = random_params(model, data) | {"scale": torch.ones(3, 1).double()}
    assert Renumbering(model, params, None).unknown == ["scale"]
    assert Renumbering(model, params, {"scale": (0,)}).unknown == []
    fit = replace(made_fit(model, data, params), params=params)
    with pytest.raises(ValueError, match="state_axes must say.*scale"):
        fit.permuted([0, 1, 2])
    assert fit.permuted([0, 2, 1], {"scale": (0,)}).params["scale"].shape == (3, 1)

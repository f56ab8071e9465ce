"""What every component keeps: shapes, definition and table, display, errors."""

import pytest
import torch
from component_cases import STATES, bound, within
from families import (
    EMISSIONS,
    INITIALS,
    MASK,
    TRANSITIONS,
    hidden_markov,
    normals,
    parameter_sites,
    random_data,
    random_params,
    with_sets,
)
from made_fits import made_fit

import glmhmm_pyro as gh
from glmhmm_pyro.components.pairs import insert_staying
from glmhmm_pyro.components.softmax import insert_zeros

SHAPES = {
    "bernoulli": ({"emissions.weights": (3, 2)}, gh.Bernoulli()),
    "categorical": ({"emissions.weights": (3, 3, 2)}, gh.Categorical(4)),
    "stationary": ({"transitions.probs": (3, 3)}, gh.Stationary()),
    "input-driven": ({"transitions.weights": (3, 2, 2)}, gh.InputDriven()),
    "shared": (
        {"transitions.weights": (2, 2), "transitions.baseline": (3, 2)},
        gh.SharedInputDriven(),
    ),
    "initial": ({"initial.probs": (3,)}, gh.Initial()),
    "per session": ({"initial.probs": (3, 3)}, gh.Initial(per_session=True)),
    "initial glm": ({"initial.weights": (2, 2)}, gh.InitialGLM()),
}


@pytest.mark.parametrize("expected, part", SHAPES.values(), ids=SHAPES)
def test_parameters_leave_the_reference_rows_out(expected, part):
    prefix = next(iter(expected)).split(".")[0]
    data = random_data("bernoulli")
    model, _ = bound(data=data, **{prefix: part})
    sites = parameter_sites(model, data)
    found = {n: tuple(s.shape()) for n, s in sites.items() if n.startswith(prefix)}
    assert found == expected
    assert all(site.batch_shape == () for site in sites.values())


@pytest.mark.parametrize("family", EMISSIONS)
def test_an_emission_table_is_the_definition_at_every_state(family):
    model, data = bound(EMISSIONS[family](), data=random_data(family, mask=MASK))
    params = random_params(model, data)
    emissions, x = model.emissions, data.covariates
    y = data.emissions.double()
    table = within(model, params, lambda: emissions.table(x))
    assert table.batch_shape == (data.num_steps, STATES)
    for k in range(STATES):
        state = torch.full((data.num_steps,), k)
        alone = within(model, params, lambda: emissions(state, x)).log_prob(y)
        torch.testing.assert_close(table.log_prob(y[:, None])[:, k], alone)


@pytest.mark.parametrize("family", TRANSITIONS)
def test_a_transition_table_is_the_definition_at_every_origin(family):
    model, data = bound(transitions=TRANSITIONS[family]())
    params = random_params(model, data)
    transitions, u = model.transitions, data.transition_covariates
    table = within(model, params, lambda: transitions.log_probs(data))
    assert table.shape in {(1, 3, 3), (8, 3, 3)}
    torch.testing.assert_close(table.exp().sum(-1), torch.ones_like(table[..., 0]))
    for i in range(STATES):
        origin = torch.full((data.num_steps,), i)
        alone = within(model, params, lambda: transitions(origin, u)).logits
        expected = alone.log_softmax(-1)
        torch.testing.assert_close(table[:, i].expand_as(expected), expected)


def test_input_driven_transitions_are_softmax_regressions_of_leaving():
    model, data = bound(transitions=gh.InputDriven())
    params = random_params(model, data)
    weights, u = params["transitions.weights"], data.transition_covariates
    table = within(model, params, lambda: model.transitions.log_probs(data))
    for i in range(STATES):
        others = [j for j in range(STATES) if j != i]
        scores = torch.zeros(data.num_steps, STATES, dtype=torch.float64)
        for row, j in enumerate(others):
            scores[:, j] = u @ weights[i, row]
        torch.testing.assert_close(table[:, i], scores.log_softmax(-1))


def test_shared_transitions_are_a_baseline_plus_weights_of_the_destination():
    model, data = bound(transitions=gh.SharedInputDriven())
    params = random_params(model, data)
    weights, baseline = params["transitions.weights"], params["transitions.baseline"]
    u = data.transition_covariates
    table = within(model, params, lambda: model.transitions.log_probs(data))
    for i in range(STATES):
        others = [j for j in range(STATES) if j != i]
        scores = torch.zeros(data.num_steps, STATES, dtype=torch.float64)
        scores[:, others] += baseline[i]
        scores[:, 1:] += u @ weights.T
        torch.testing.assert_close(table[:, i], scores.log_softmax(-1))


def test_categorical_emissions_take_class_0_as_reference():
    model, data = bound(gh.Categorical(3), data=random_data("categorical"))
    params = random_params(model, data)
    table = within(model, params, lambda: model.emissions.table(data.covariates))
    free = torch.einsum("td,kcd->tkc", data.covariates, params["emissions.weights"])
    scores = torch.cat([torch.zeros(8, STATES, 1).double(), free], -1)
    torch.testing.assert_close(table.logits, scores.log_softmax(-1))


def test_an_initial_glm_takes_state_0_as_reference():
    model, data = bound(initial=gh.InitialGLM())
    params = random_params(model, data)
    actual = within(model, params, lambda: model.initial.log_probs(data))
    free = data.initial_covariates @ params["initial.weights"].T
    expected = torch.cat([torch.zeros(3, 1).double(), free], -1).log_softmax(-1)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("initial", INITIALS)
@pytest.mark.parametrize("family", ["bernoulli", "categorical", "poisson"])
def test_parameter_sets_in_a_leading_axis_equal_a_loop_over_them(
    transitions, initial, family
):
    model, data = bound(
        EMISSIONS[family](),
        TRANSITIONS[transitions](),
        INITIALS[initial](),
        random_data(family, mask=MASK),
    )
    assert all(component.batched for component in model.components.values())
    sets = [random_params(model, data, seed=s) for s in (1, 2)]
    together = hidden_markov(model, data, with_sets(sets)).log_prob(data.emissions)
    alone = [hidden_markov(model, data, p).log_prob(data.emissions) for p in sets]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("states", [1, 2, 3, 5])
def test_zeros_of_staying_stand_on_the_diagonal_and_keep_the_order(states):
    free = torch.arange(1.0, states * (states - 1) + 1).reshape(states, states - 1)
    whole = insert_staying(free.expand(4, 2, -1, -1))
    assert whole.shape == (4, 2, states, states)
    for i in range(states):
        assert whole[0, 0, i, i] == 0
        others = [whole[1, 1, i, j].item() for j in range(states) if j != i]
        assert others == free[i].tolist()


def test_what_users_are_shown_has_its_zeros_in_place():
    weights = normals(3, 2, 4)
    shown, axes = gh.InputDriven().display("weights", weights)
    assert axes == ("origin", "destination", "covariate") and shown.shape == (3, 3, 4)
    assert (shown[range(3), range(3)] == 0).all()
    assert torch.equal(shown[1, [0, 2]], weights[1])
    shown, axes = gh.Categorical(3).display("weights", weights)
    assert axes == ("state", "class", "covariate") and shown.shape == (3, 3, 4)
    assert (shown[:, 0] == 0).all() and torch.equal(shown[:, 1:], weights)
    shared = gh.SharedInputDriven()
    assert torch.equal(shared.display("weights", weights[0])[0][1:], weights[0])
    assert shared.display("baseline", weights[..., 0])[0].shape == (3, 3)
    assert gh.InitialGLM().display("weights", weights[0])[0].shape == (3, 4)
    assert torch.equal(gh.Bernoulli().display("weights", weights[0])[0], weights[0])
    assert torch.equal(insert_zeros(weights)[..., 0, :], torch.zeros(3, 4).double())


def test_shared_transitions_refuse_a_constant_column():
    data = random_data()
    constant = torch.cat([data.transition_covariates, torch.ones(8, 1)], -1)
    data = data.replace(
        transition_covariates=constant, transition_covariate_names=["a", "b", "bias"]
    )
    options = {"num_restarts": 1, "progress": False}
    models = {"shared": gh.GLMHMM(2, gh.Bernoulli(), gh.SharedInputDriven())}
    levels = gh.levels.Levels(2, 2), gh.Bernoulli()
    slow = gh.levels.TwoLevels(slow=gh.SharedInputDriven())
    models["slow"] = gh.GLMHMM(*levels, slow)
    for model in models.values():
        with pytest.raises(ValueError, match="no constant column.*got column 'bias'"):
            gh.fit(model, data, **options)
    gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven()).bind(data)


def test_shared_transitions_are_told_of_where_a_column_is_constant():
    """As in a session that has one value of it, or in a curve over its values."""
    data = random_data()
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.SharedInputDriven())
    fit = made_fit(model, data, random_params(model, data))
    constant = data.replace(transition_covariates=0 * data.transition_covariates + 1)
    assert torch.tensor(fit.score(constant)).isfinite()
    name = data.transition_covariate_names[0]
    assert len(gh.analysis.response_curve(fit, data, name, part="transitions"))


def test_an_initial_glm_asks_for_initial_covariates():
    data = gh.Sequences([0, 1], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="initial_covariates.*got None"):
        bound(initial=gh.InitialGLM(), data=data)


def test_initial_probabilities_per_session_speak_of_those_sessions_only():
    model, data = bound(initial=gh.Initial(per_session=True))
    model.bind(data.subset([1, 0]))
    others = gh.Sequences([0, 1], data.covariates[:2], session_names=["monday"])
    with pytest.raises(ValueError, match=r"fitted \(0, 1, 2\), got monday; use Init"):
        model.bind(others)


@pytest.mark.parametrize(
    "emissions, values, match",
    [
        (gh.Bernoulli(), [0, 1, 2], "labels 0 to 1 for Bernoulli.*got 2"),
        (gh.Bernoulli(), [0.0, 0.5, 1.0], "got 0.5"),
        (gh.Categorical(3), [0, 1, 3], r"Categorical\(3\), got 3"),
        (gh.Categorical(3), [0.0, -1.0, 1.0], "got -1.0"),
        (gh.Bernoulli(), [[0, 1]] * 3, r"got \(3, 2\); give Bernoulli\(num_outputs=2"),
    ],
)
def test_labels_that_are_no_classes_are_refused(emissions, values, match):
    with pytest.raises(ValueError, match=match):
        bound(emissions, data=gh.Sequences(values, [[1.0], [2.0], [3.0]]))


def test_illegal_labels_may_stand_at_masked_steps():
    data = gh.Sequences([0, 1, 7], [[1.0], [2.0], [3.0]], mask=[True, True, False])
    assert bound(data=data)[0].emissions.num_features == 1


def test_a_category_has_two_classes_at_least():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        gh.Categorical(1)


@pytest.mark.parametrize(
    "component, method",
    [
        (gh.Emission(), "forward"),
        (gh.GLMEmission(), "distribution"),
        (gh.Transitions(), "forward"),
    ],
)
def test_a_family_without_its_method_is_told_which_to_write(component, method):
    arguments = [None] if method == "distribution" else [None, None]
    with pytest.raises(NotImplementedError, match=f"must define {method}"):
        getattr(component, method)(*arguments)


def test_a_component_without_a_model_says_what_is_missing():
    with pytest.raises(ValueError, match="num_states of Bernoulli must be bound"):
        gh.Bernoulli().all_states(torch.device("cpu"))
    with pytest.raises(ValueError, match="axis 'covariate'.*model.bind"):
        gh.GLMHMM(2, gh.Bernoulli()).emissions.shape("weights")


def test_a_model_of_one_state_learns_neither_start_nor_transitions():
    model, data = bound(gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM(), states=1)
    assert set(parameter_sites(model, data)) == {"emissions.weights"}
    assert model.transitions(torch.tensor(0), data.covariates[0]).logits.shape == (1,)

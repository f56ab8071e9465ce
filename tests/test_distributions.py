"""HiddenMarkov against sums over all paths of hidden states."""

import oracles
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals, seeded_generator

from glmhmm_pyro import HiddenMarkov

LENGTHS = torch.tensor([4, 1, 3])
MASK = torch.tensor([True, True, False, True, True, False, True, True])
LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 1, 0])


def logits(batch=(), states=3, sessions=3, steps=8, classes=3, seed=0):
    """Unnormalised logits of the initial state, the transitions and the labels."""
    shapes = (sessions, states), (steps, states, states), (steps, states, classes)
    return [normals(*batch, *s, seed=seed + i) for i, s in enumerate(shapes)]


def labels_chain(logits, mask=None, lengths=LENGTHS):
    initial, transition, emission = logits
    return HiddenMarkov(
        initial, transition, dist.Categorical(logits=emission), lengths, mask
    )


def potentials_by_definition(logits, labels=LABELS, mask=None):
    """Normalised logs, without HiddenMarkov."""
    initial, transition, emission = (x.log_softmax(-1) for x in logits)
    steps = torch.arange(len(labels))
    emission = emission[..., steps, :, labels].movedim(0, -2)
    if mask is not None:
        emission = torch.where(mask[:, None], emission, 0.0)
    return initial, transition, emission


def posteriors_by_definition(logits, mask=None):
    potentials = potentials_by_definition(logits, mask=mask)
    sessions = oracles.by_session(*potentials, LENGTHS)
    return [oracles.path_posterior(*session) for session in sessions]


MASKS = pytest.mark.parametrize("mask", [None, MASK], ids=["observed", "masked"])


@MASKS
def test_log_probs_are_sums_over_all_paths(mask):
    numbers = logits()
    expected = oracles.log_marginals(
        *potentials_by_definition(numbers, mask=mask), LENGTHS
    )
    hidden = labels_chain(numbers, mask)
    torch.testing.assert_close(hidden.log_prob_per_session(LABELS), expected)
    torch.testing.assert_close(hidden.log_prob(LABELS), expected.sum())
    per_step = hidden.log_prob_per_step(LABELS).split(LENGTHS.tolist())
    torch.testing.assert_close(torch.stack([s.sum() for s in per_step]), expected)
    if mask is not None:
        assert (hidden.log_prob_per_step(LABELS)[~mask].abs() < 1e-14).all()


@MASKS
def test_steps_are_predicted_from_the_earlier_ones_of_their_session(mask):
    numbers = logits()
    hidden = labels_chain(numbers, mask)
    potentials = potentials_by_definition(numbers, mask=mask)
    predicted, filtered = [], []
    for initial, transition, emission in oracles.by_session(*potentials, LENGTHS):
        for t in range(len(emission)):
            seen = (initial, transition[: t + 1], emission[: t + 1].clone())
            filtered.append(oracles.path_posterior(*seen).smoothed[-1])
            seen[2][-1] = 0.0
            predicted.append(oracles.path_posterior(*seen).smoothed[-1])
    torch.testing.assert_close(hidden.filtered_probs(LABELS), torch.stack(filtered))
    torch.testing.assert_close(hidden.predicted_probs(LABELS), torch.stack(predicted))


@MASKS
def test_smoothed_and_pairwise_probabilities_are_those_of_all_paths(mask):
    numbers = logits()
    hidden, posteriors = labels_chain(numbers, mask), posteriors_by_definition(
        numbers, mask
    )
    smoothed = torch.cat([posterior.smoothed for posterior in posteriors])
    pairwise = torch.cat([posterior.pairwise for posterior in posteriors])
    torch.testing.assert_close(hidden.smoothed_probs(LABELS), smoothed)
    torch.testing.assert_close(hidden.pairwise_probs(LABELS), pairwise)


@MASKS
def test_viterbi_finds_the_most_probable_path_of_every_session(mask):
    for seed in range(10):
        numbers = logits(seed=7 * seed)
        posteriors = posteriors_by_definition(numbers, mask)
        best = torch.cat([p.paths[p.probs.argmax()] for p in posteriors])
        actual = labels_chain(numbers, mask).viterbi_states(LABELS)
        torch.testing.assert_close(actual, best)


def test_posterior_paths_have_their_probabilities():
    # Pearson's statistic of 27 and 81 paths at 1e-6 false alarms: 80.2 and 159.7.
    numbers, num_samples = logits(), 20_000
    hidden, posteriors = labels_chain(numbers), posteriors_by_definition(numbers)
    paths = hidden.sample_states(LABELS, num_samples, seeded_generator())
    assert paths.shape == (num_samples, 8)
    for rows, posterior, bound in zip(
        paths.split(LENGTHS.tolist(), -1), posteriors, (159.7, 27.7, 80.2)
    ):
        powers = 3 ** torch.arange(rows.shape[1] - 1, -1, -1)
        seen = torch.bincount(rows @ powers, minlength=len(posterior.probs))
        expected = num_samples * posterior.probs
        assert ((seen - expected) ** 2 / expected).sum() < bound


def test_posterior_paths_repeat_with_their_generator():
    hidden = labels_chain(logits())
    draws = [hidden.sample_states(LABELS, 5, seeded_generator(s)) for s in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_simulated_emissions_and_states_have_their_joint_probabilities():
    # One session of two steps, 2 states, 2 labels: 16 outcomes. At 15 degrees of
    # freedom Pearson's statistic exceeds 56.5 in one of 1e6 cases.
    numbers = logits(states=2, sessions=1, steps=2, classes=2)
    lengths, num_samples = torch.tensor([2]), 20_000
    hidden = labels_chain(numbers, lengths=lengths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        labels, states = hidden.sample_with_states(torch.Size([num_samples]))
    initial, transition, emission = (x.log_softmax(-1).exp() for x in numbers)
    expected = torch.einsum(
        "i,ij,ia,jb->ijab", initial[0], transition[1], emission[0], emission[1]
    ).flatten()
    codes = torch.cat([states, labels], -1).long() @ torch.tensor([8, 4, 2, 1])
    seen = torch.bincount(codes, minlength=16)
    statistic = ((seen - num_samples * expected) ** 2 / (num_samples * expected)).sum()
    assert statistic < 56.5


def test_samples_of_several_sets_have_the_shapes_announced():
    hidden = labels_chain(logits(batch=(2,)))
    assert (hidden.batch_shape, hidden.event_shape) == ((2,), (8,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        labels, states = hidden.sample_with_states(torch.Size([5, 4]))
        assert hidden.sample().shape == hidden.shape() == (2, 8)
    assert labels.shape == states.shape == (5, 4, 2, 8)


def test_samples_of_vector_emissions_keep_their_event_axes():
    initial, transition, _ = logits()
    means = normals(8, 3, 2, seed=5)
    emission = dist.Normal(means, 1e-9).to_event(1)
    hidden = HiddenMarkov(initial, transition, emission, LENGTHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        values, states = hidden.sample_with_states(torch.Size([6]))
    assert values.shape == (6, 8, 2) and hidden.event_shape == (8, 2)
    expected = means[torch.arange(8), states]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-7)
    assert hidden.log_prob(values[0]).shape == ()


@MASKS
def test_without_emissions_the_states_follow_from_the_transitions_alone(mask):
    numbers = logits()
    hidden = labels_chain(numbers, mask).without_emissions()
    initial, transition, _ = (x.softmax(-1) for x in numbers)
    expected = []
    for session, length in enumerate(LENGTHS.tolist()):
        start = int(LENGTHS[:session].sum())
        probs = [initial[session]]
        for t in range(start + 1, start + length):
            probs.append(probs[-1] @ transition[t])
        expected += probs
    torch.testing.assert_close(hidden.smoothed_probs(LABELS), torch.stack(expected))
    assert hidden.log_prob(LABELS).abs() < 1e-12 and hidden.num_observed == 0


def test_shared_rows_serve_every_session_and_step():
    initial, transition, emission = logits()
    shared = (initial[:1], transition[:1], emission)
    written_out = (
        initial[:1].expand(3, -1),
        transition[:1].expand(8, -1, -1),
        emission,
    )
    actual, expected = (labels_chain(numbers) for numbers in (shared, written_out))
    torch.testing.assert_close(actual.log_prob(LABELS), expected.log_prob(LABELS))
    torch.testing.assert_close(
        actual.pairwise_probs(LABELS), expected.pairwise_probs(LABELS)
    )


def test_logits_are_normalised():
    initial, transition, emission = logits()
    moved = (initial + 3.0, transition - 2.0 * normals(8, 3, 1, seed=9), emission + 1.0)
    actual, expected = (labels_chain(x).log_prob(LABELS) for x in (moved, logits()))
    torch.testing.assert_close(actual, expected)


def test_the_probabilities_of_all_emissions_sum_to_one():
    hidden = labels_chain(logits(sessions=1, steps=3), lengths=torch.tensor([3]))
    values = torch.cartesian_prod(*[torch.arange(3)] * 3)
    total = torch.stack([hidden.log_prob(value) for value in values]).logsumexp(0)
    assert total.item() == pytest.approx(0.0, abs=1e-12)


@MASKS
def test_a_batch_of_parameter_sets_equals_a_loop_over_them(mask):
    numbers = logits(batch=(2, 3))
    together = labels_chain(numbers, mask)
    for method in (
        "log_prob",
        "log_prob_per_session",
        "log_prob_per_step",
        "filtered_probs",
        "predicted_probs",
        "smoothed_probs",
        "pairwise_probs",
        "viterbi_states",
        "emission_log_probs",
    ):
        whole = getattr(together, method)(LABELS)
        assert whole.shape[:2] == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = labels_chain([x[i, j] for x in numbers], mask)
                torch.testing.assert_close(whole[i, j], getattr(alone, method)(LABELS))
    counts = together.expected_counts(LABELS)
    alone = labels_chain([x[1, 2] for x in numbers], mask).expected_counts(LABELS)
    for actual, expected in zip(counts, alone):
        torch.testing.assert_close(actual[1, 2], expected)


def test_gradients_are_those_of_the_sum_over_paths():
    numbers = [x.requires_grad_() for x in logits()]
    value = labels_chain(numbers, MASK).log_prob(LABELS)
    potentials = potentials_by_definition(numbers, mask=MASK)
    expected = oracles.log_marginals(*potentials, LENGTHS).sum()
    torch.testing.assert_close(
        torch.autograd.grad(value, numbers), torch.autograd.grad(expected, numbers)
    )


def test_hessians_are_those_of_the_sum_over_paths():
    def by_recursion(transition):
        initial, _, emission = logits()
        return labels_chain((initial, transition, emission)).log_prob(LABELS)

    def by_paths(transition):
        initial, _, emission = logits()
        potentials = potentials_by_definition((initial, transition, emission))
        return oracles.log_marginals(*potentials, LENGTHS).sum()

    actual, expected = (
        torch.autograd.functional.hessian(f, logits()[1][:1])
        for f in (by_recursion, by_paths)
    )
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("filler", [-7.0, 99.0, torch.nan, torch.inf])
def test_values_at_masked_steps_change_no_number(filler):
    values = LABELS.double()
    changed = torch.where(MASK, values, torch.tensor(filler, dtype=torch.float64))
    numbers = [x.requires_grad_() for x in logits()]
    results = []
    for value in (values, changed):
        hidden = labels_chain(numbers, MASK)
        log_prob = hidden.log_prob(value)
        gradient = torch.autograd.grad(log_prob, numbers, retain_graph=True)
        methods = (
            hidden.log_prob_per_step,
            hidden.filtered_probs,
            hidden.predicted_probs,
            hidden.smoothed_probs,
            hidden.pairwise_probs,
            hidden.viterbi_states,
        )
        counts = hidden.expected_counts(value)
        bound = hidden.expected_log_prob(value, counts)
        moved = torch.autograd.grad(bound, numbers)
        posterior = [method(value) for method in methods]
        results.append([log_prob, *gradient, *posterior, *counts, bound, *moved])
    for actual, expected in zip(*results):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("filler", [-1.0, torch.nan])
def test_validated_emissions_accept_anything_at_masked_steps(filler):
    initial, transition, _ = logits()
    rates = normals(8, 3, seed=3).exp()
    hidden = HiddenMarkov(
        initial, transition, dist.Poisson(rates, validate_args=True), LENGTHS, MASK
    )
    values = torch.where(MASK, LABELS.double(), filler)
    expected = hidden.log_prob(torch.where(MASK, LABELS.double(), 1.0))
    assert torch.equal(hidden.log_prob(values), expected)


@pytest.mark.parametrize("value", [LABELS, LABELS.double() * torch.nan])
def test_a_wholly_masked_session_costs_nothing(value):
    mask = torch.tensor([True] * 4 + [False] * 4)
    hidden = labels_chain(logits(), mask)
    whole = torch.where(mask, LABELS.double(), value.double())
    per_session = hidden.log_prob_per_session(whole)
    assert per_session[0] < -1 and (per_session[1:].abs() < 1e-14).all()
    nothing = labels_chain(logits(), torch.zeros(8, dtype=torch.bool))
    assert nothing.log_prob(value).abs() < 1e-14
    assert (nothing.expected_counts(value).emission == 0).all()


def test_the_expected_log_prob_is_the_mean_over_posterior_paths():
    numbers, others = logits(), logits(seed=50)
    counts = labels_chain(numbers, MASK).expected_counts(LABELS)
    actual = labels_chain(others, MASK).expected_log_prob(LABELS, counts)
    potentials = potentials_by_definition(others, mask=MASK)
    sessions = oracles.by_session(*potentials, LENGTHS)
    expected = sum(
        (posterior.probs * oracles.path_log_probs(*session)[1]).sum()
        for posterior, session in zip(posteriors_by_definition(numbers, MASK), sessions)
    )
    torch.testing.assert_close(actual, expected)


def test_what_is_impossible_has_a_finite_expected_log_prob():
    initial, transition, emission = logits()
    transition[:, 0, 1] = -torch.inf
    initial[:, 2] = -torch.inf
    hidden = labels_chain((initial, transition, emission))
    counts = hidden.expected_counts(LABELS)
    assert torch.isfinite(hidden.expected_log_prob(LABELS, counts))
    assert torch.isfinite(hidden.log_prob(LABELS))


def test_impossible_emissions_have_log_probability_minus_infinity():
    initial, transition, emission = logits()
    emission[2, :, 1] = -torch.inf
    per_session = labels_chain((initial, transition, emission)).log_prob_per_session(
        LABELS
    )
    assert per_session[0] == -torch.inf and torch.isfinite(per_session[1:]).all()


def test_expected_emissions_weigh_the_states():
    numbers = logits()
    hidden = labels_chain(numbers)
    weights = hidden.predicted_probs(LABELS)
    probs = numbers[2].softmax(-1)
    expected = torch.einsum("tk,tkc->tc", weights, probs)
    torch.testing.assert_close(hidden.expected_emission(weights), expected)
    initial, transition, _ = numbers
    means = normals(8, 3, 2, seed=6)
    gaussian = dist.Normal(means, 1.0).to_event(1)
    hidden = HiddenMarkov(initial, transition, gaussian, LENGTHS)
    expected = torch.einsum("tk,tkd->td", weights, means)
    torch.testing.assert_close(hidden.expected_emission(weights), expected)


def test_a_product_of_independent_labels_is_an_event():
    initial, transition, _ = logits()
    pairs = dist.Bernoulli(logits=normals(8, 3, 2, seed=6)).to_event(1)
    hidden = HiddenMarkov(initial, transition, pairs, LENGTHS)
    value = (normals(8, 2, seed=8) > 0).double()
    joint = pairs.log_prob(value.unsqueeze(1))
    torch.testing.assert_close(hidden.emission_log_probs(value), joint)
    assert hidden.expected_emission(hidden.predicted_probs(value)).shape == (8, 2)


def test_expand_keeps_its_batch_shape_or_refuses():
    hidden = labels_chain(logits())
    assert hidden.expand(torch.Size()) is hidden
    for shape in [(3,), (1,)]:
        with pytest.raises(ValueError, match=r"batch shape \(\), got \(\d,\)"):
            hidden.expand(torch.Size(shape))


@pytest.mark.parametrize("size", [1, 3])
def test_a_session_plate_is_refused_with_a_sentence(size):
    def model():
        with pyro.plate("sessions", size):
            pyro.sample("y", labels_chain(logits()), obs=LABELS)

    with pytest.raises(ValueError, match="count them repeatedly; take the site out"):
        pyro.poutine.trace(model).get_trace()


def test_a_scaled_site_counts_as_often_as_its_scale():
    def model():
        pyro.sample("y", labels_chain(logits()), obs=LABELS)

    scaled = pyro.poutine.scale(model, scale=2.5)
    actual = pyro.poutine.trace(scaled).get_trace().log_prob_sum()
    torch.testing.assert_close(actual, 2.5 * labels_chain(logits()).log_prob(LABELS))


def test_the_support_is_that_of_the_emissions():
    support = labels_chain(logits()).support
    assert support.event_dim == 1
    assert support.check(LABELS) and not support.check(LABELS + 1)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"initial_logits": normals(2, 3)}, r"initial_logits .*got \(2, 3\)"),
        (
            {"transition_logits": normals(7, 3, 3)},
            r"transition_logits .*got \(7, 3, 3\)",
        ),
        (
            {"lengths": torch.tensor([4, 1, 2])},
            "lengths must sum to the 8 steps.*got 7",
        ),
        ({"mask": torch.ones(8)}, "mask must be a boolean.*float32"),
        ({"mask": MASK[:5]}, r"mask must be.*\(8,\), got.*\(5,\)"),
    ],
)
def test_wrong_shapes_are_named(change, match):
    initial, transition, emission = logits()
    arguments = {
        "initial_logits": initial,
        "transition_logits": transition,
        "emission_dist": dist.Categorical(logits=emission),
        "lengths": LENGTHS,
    }
    with pytest.raises(ValueError, match=match):
        HiddenMarkov(**(arguments | change))

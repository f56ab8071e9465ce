"""The log-joint of the package's own parts by hand, against Pyro's densities.

The reference is automatic differentiation of the model's own distributions, and
differences of values where that is what a slope is.
"""

import pickle

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.chain import compiled, half_log_kernels, log_kernels
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.draws.alignment import decodings
from glmhmm_pyro.inference.nuts.chains import Potential
from glmhmm_pyro.inference.nuts.whitening import Whitening
from glmhmm_pyro.inference.program.evaluated import differentiated
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps import scores
from glmhmm_pyro.inference.steps.steps import ComponentSteps, stack

STEPS = 60


def recorded(classes=2, repeated=False, steps=STEPS, **options):
    """Random labels; covariates that repeat themselves or do not."""
    rng = np.random.default_rng(3)
    columns = (
        rng.integers(0, 3, (steps, 2)) if repeated else rng.normal(size=(steps, 2))
    )
    covariates = np.column_stack([3.0 * columns + 1.0, np.ones(steps)])
    labels = rng.integers(0, classes, steps)
    lengths = [steps // 2, steps // 4, steps - steps // 2 - steps // 4]
    return gh.Sequences(labels, covariates, lengths=lengths, **options)


def moved(*classes, **options):
    """The same with transition covariates that hold no constant column."""
    data = recorded(*classes, **options)
    return gh.Sequences(
        data.emissions,
        data.covariates,
        lengths=data.lengths,
        transition_covariates=data.covariates[:, :2],
    )


def ticking(*classes):
    """The same with a cue and a clock, which are all that transitions read."""
    data = moved(*classes)
    ticks = torch.arange(len(data.emissions)) % 3 == 0
    return data.replace(
        transition_covariates=torch.stack([data.covariates[:, 0], ticks], 1),
        transition_covariate_names=["cue", "tick"],
    )


def numbers(kind, outputs=1, **options):
    """Counts, positive or any numbers, of one output or more, beside covariates."""
    rng, shape = np.random.default_rng(7), (STEPS, outputs)[: 1 + (outputs > 1)]
    made = {
        "counts": rng.poisson(2.0, shape),
        "positive": rng.gamma(2.0, size=shape),
        "real": 3.0 * rng.normal(size=shape) - 1.0,
    }
    data = recorded()
    return gh.Sequences(
        made[kind], data.covariates / 40, lengths=data.lengths, **options
    )


def correlated(size):
    root = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 2.0]])
    return dist.MultivariateNormal(torch.zeros(size), scale_tril=root)


MASK = np.arange(STEPS) % 7 > 0
APART = np.stack([MASK, np.arange(STEPS) % 5 > 0], 1)
CASES = {
    "bernoulli": (gh.GLMHMM(2, gh.Bernoulli()), recorded()),
    "one state": (gh.GLMHMM(1, gh.Bernoulli(dist.Normal(0.5, 2.0))), recorded()),
    "masked": (gh.GLMHMM(3, gh.Bernoulli(gh.priors.Ridge(1.0))), recorded(mask=MASK)),
    "sticky": (
        gh.GLMHMM(3, gh.Bernoulli(), gh.Stationary(gh.priors.Sticky(9.0, 0.7))),
        recorded(),
    ),
    "dirichlet": (
        gh.GLMHMM(
            2,
            gh.Bernoulli(),
            initial=gh.Initial(dist.Dirichlet(torch.tensor([2.0, 1.0]))),
        ),
        recorded(),
    ),
    "dirichlets side by side": (
        gh.GLMHMM(
            3,
            gh.Bernoulli(gh.priors.Ridge(1.0)),
            gh.Stationary(gh.priors.Sticky(9.0, 0.7)),
            gh.Initial(dist.Dirichlet(torch.tensor([2.0, 1.0, 0.5]))),
        ),
        recorded(),
    ),
    "normals side by side": (
        gh.GLMHMM(
            2,
            gh.Categorical(3, dist.Normal(0.5, torch.tensor([1.0, 2.0, 3.0]))),
            gh.InputDriven(dist.Normal(torch.arange(3.0), 4.0)),
        ),
        recorded(3),
    ),
    "weighed sessions": (
        gh.GLMHMM(2, gh.Bernoulli()),
        recorded().weighted([1.0, 0.5, 2.5]),
    ),
    "classes": (gh.GLMHMM(3, gh.Categorical(4, correlated(3))), recorded(4)),
    "masked classes": (gh.GLMHMM(2, gh.Categorical(3)), recorded(3, mask=MASK)),
    "driven": (
        gh.GLMHMM(
            3, gh.Categorical(3), gh.InputDriven(dist.Normal(torch.arange(3.0), 2.0))
        ),
        recorded(3),
    ),
    "other kinds of priors": (
        gh.GLMHMM(
            2, gh.Bernoulli(dist.Laplace(0.1, 2.0)), gh.InputDriven(correlated(3))
        ),
        recorded(),
    ),
    "held": (
        gh.GLMHMM(2, gh.Bernoulli(gh.priors.Fixed({"x_1": 0.3}))),
        recorded(covariate_names=["x_0", "x_1", "c"]),
    ),
    "repeated": (
        gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)), gh.InputDriven()),
        recorded(repeated=True, steps=1200, mask=np.arange(1200) % 5 > 0),
    ),
    "shared": (
        gh.GLMHMM(3, gh.Categorical(3), gh.SharedInputDriven(gh.priors.Ridge(1.0))),
        moved(3),
    ),
    "shared, repeated": (
        gh.GLMHMM(2, gh.Bernoulli(), gh.SharedInputDriven()),
        moved(repeated=True, steps=1200),
    ),
    "poisson": (
        gh.GLMHMM(2, gh.Poisson(gh.priors.Ridge(1.0)), gh.InputDriven()),
        numbers("counts", mask=MASK),
    ),
    "counts of two": (gh.GLMHMM(2, gh.Poisson(num_outputs=2)), numbers("counts", 2)),
    "dispersed": (
        gh.GLMHMM(2, gh.components.NegativeBinomial(dispersion_prior=dist.Gamma(2, 2))),
        numbers("counts"),
    ),
    "gaussian": (
        gh.GLMHMM(3, gh.Gaussian(prior=gh.priors.Ridge(2.0))),
        numbers("real"),
    ),
    "gaussian, one scale": (
        gh.GLMHMM(2, gh.Gaussian(shared_scale=True)),
        numbers("real", mask=MASK),
    ),
    "two gaussian, one scale": (
        gh.GLMHMM(2, gh.Gaussian(num_outputs=2, shared_scale=True)),
        numbers("real", 2, mask=APART),
    ),
    "two gaussian": (
        gh.GLMHMM(2, gh.Gaussian(num_outputs=2, scale_prior=dist.LogNormal(0.5, 1.0))),
        numbers("real", 2, mask=APART),
    ),
    "heavy tails": (
        gh.GLMHMM(2, gh.components.StudentT(df_prior=dist.Gamma(2.0, 0.1))),
        numbers("real").weighted([1.0, 0.5, 2.5]),
    ),
    "positive": (
        gh.GLMHMM(2, gh.components.Gamma(gh.priors.Ridge(1.0))),
        numbers("positive", mask=MASK),
    ),
    "counts on levels": (
        gh.GLMHMM(Levels(slow=2, fast=2), ByLevel(gh.Poisson(), over="slow")),
        numbers("counts"),
    ),
    "levels": (gh.GLMHMM(Levels(slow=2, fast=3), gh.Bernoulli()), recorded(mask=MASK)),
    "driven levels": (
        gh.GLMHMM(
            Levels(slow=3, fast=2),
            ByLevel(gh.Categorical(3), over="both"),
            TwoLevels(gh.InputDriven(gh.priors.Ridge(2.0)), gh.InputDriven(), "tick"),
        ),
        ticking(3),
    ),
    "half driven levels": (
        gh.GLMHMM(
            Levels(slow=2, fast=2),
            ByLevel(gh.Bernoulli(), over="slow"),
            TwoLevels(fast=gh.SharedInputDriven(covariates=["cue"])),
        ),
        ticking(),
    ),
    "ticking levels": (
        gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(clock="tick")),
        ticking(),
    ),
    "forbidden": (
        gh.GLMHMM(
            3,
            gh.Bernoulli(gh.priors.Ridge(1.0)),
            gh.InputDriven(gh.priors.Ridge(1.0), forbidden=[(0, 2), (2, 1)]),
        ),
        recorded(),
    ),
    "shared, forbidden": (
        gh.GLMHMM(3, gh.Categorical(3), gh.SharedInputDriven(forbidden=[(1, 2)])),
        moved(3),
    ),
    "no way back": (
        gh.GLMHMM(
            2,
            gh.Bernoulli(),
            gh.Stationary(gh.priors.Fixed([[0.8, 0.2], [0.0, 1.0]])),
        ),
        recorded(),
    ),
    "repeated classes": (
        gh.GLMHMM(3, gh.Categorical(3)),
        recorded(3, repeated=True, steps=1200),
    ),
}


def programs(name):
    """The program of a case, and the one in units of its own."""
    program = Program.of(*CASES[name])
    return [program, program.in_own_units()]


def points(size):
    """Points near the middle, and one where probabilities are rounded to 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(3, size, generator=generator, dtype=torch.float64)
    return draws * torch.tensor([[0.3], [1.0], [12.0]])


@pytest.mark.parametrize(
    "name, groups",
    [("dirichlets", ["ini tra", "emi"]), ("normals", ["ini", "tra emi"])],
)
def test_neighbours_with_priors_of_a_kind_are_computed_together(name, groups):
    density = programs(f"{name} side by side")[0]._direct
    names = [[name[:3] for name, *_ in place.members] for place in density.places]
    assert [" ".join(each) for each in names] == groups


@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes_are_those_of_the_models_densities(name, jacobian):
    for program in programs(name):
        assert program._direct is not None
        for point in points(program.coordinates.size):
            ours = program.evaluated(point, jacobian)
            graph = differentiated(
                program.coordinates, program.log_parts, point, jacobian
            )
            for kind in ("log_likelihood", "log_prior", "log_volume", "log_density"):
                expected = getattr(graph, kind)
                assert getattr(ours, kind) == pytest.approx(
                    expected, rel=1e-12, abs=1e-11
                )
            scale = float(graph.slope.abs().max())
            torch.testing.assert_close(
                ours.slope, graph.slope, rtol=0, atol=1e-11 * (1 + scale)
            )
            for site, value in graph.params.items():
                torch.testing.assert_close(ours.params[site], value, rtol=1e-13, atol=0)
        several = points(program.coordinates.size)
        together = Program.slopes(program, several) if program.is_batched else None
        if together is not None:
            torch.testing.assert_close(program.slopes(several[:2]), together[:2])


@pytest.mark.parametrize("name", CASES)
def test_states_have_the_probabilities_that_the_models_distribution_gives(name):
    model, data = CASES[name]
    program = Program.of(model, data)
    params = program.coordinates.unpack(points(program.coordinates.size)[0])
    if data.session_weights is not None:
        assert program.known_posterior(params) is None
        return
    (site,) = program.observed(params).values()
    expected = site.hidden.smoothed_probs(site.value)
    found = program.known_posterior(params)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-10)
    assert decodings(program, [params], whole=True)[0][0].tolist() == found.tolist()


def test_chains_of_more_states_or_longer_than_sessions_are_left_to_it():
    data = recorded()
    dwells = gh.SemiMarkov(gh.dwell.Poisson())
    slow = TwoLevels(across_sessions=True)
    for model in (
        gh.GLMHMM(2, gh.Bernoulli(), dwells),
        gh.GLMHMM(Levels(slow=2, fast=2), gh.Bernoulli(), slow),
    ):
        program = Program.of(model, data)
        start = program.coordinates.unpack(torch.zeros(program.coordinates.size))
        assert program.known_posterior(start) is None
        assert decodings(program, [start])[0][0].shape == (STEPS, model.num_states)


@pytest.fixture
def by_graph(monkeypatch):
    """Second derivatives of a program's density, all of it differentiated by torch."""

    def found(program, point, jacobian):
        with monkeypatch.context() as patch:
            patch.setattr(type(program), "known_curvature", lambda self, vector: None)
            return hessian(program, point, jacobian)

    return found


@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_those_of_the_models_densities(name, jacobian, by_graph):
    for program in programs(name):
        # Far off the mean of a Gamma law there are second derivatives of 1e25.
        for point in points(program.coordinates.size)[: 2 if name == "positive" else 3]:
            ours = hessian(program, point, jacobian)
            graph = by_graph(program, point, jacobian)
            # Weights of covariates and log-odds are of unlike sizes.
            root = graph.diagonal().abs().sqrt()
            size = 1e-8 * root[:, None] * root + 1e-10
            assert ((ours - graph).abs() <= size).all()


def test_second_derivatives_are_differences_of_slopes_where_messages_underflow(
    monkeypatch,
):
    """States that stay, one as probable as the other when all labels are known."""
    labels = np.repeat([1, 0, 1, 0], 20)
    data = gh.Sequences(labels, np.ones((80, 1)), lengths=[40, 40])
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven()), data)
    vector = torch.tensor([0.1, -900.0, -800.0, 40.0, -40.01], dtype=torch.float64)
    again, in_logs = [], log_kernels.counts_log
    monkeypatch.setattr(
        log_kernels, "counts_log", lambda *a: (again.append(a[4]), in_logs(*a))
    )
    program.evaluated(vector, jacobian=True)
    assert again == [0, 1]
    found = hessian(program, vector, jacobian=True)
    step = 1e-5 * torch.eye(len(vector), dtype=torch.float64)
    ends = [
        slope_at(program, torch.stack([vector + s * u for u in step])) for s in (1, -1)
    ]
    torch.testing.assert_close(found, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-5)
    assert found[3, 4] > 50


def test_half_steps_are_made_again_where_messages_underflow(monkeypatch):
    """Potentials stand where counts go, and the recursion in log space needs both."""
    labels = np.repeat([1, 0, 1, 0], 20)
    data = gh.Sequences(labels, np.ones((80, 1)), lengths=[40, 40])
    moves = TwoLevels(gh.InputDriven(), gh.InputDriven())
    program = Program.of(gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), moves), data)
    slices = program.coordinates.slices
    vector = torch.full((program.coordinates.size,), -800.0, dtype=torch.float64)
    vector[slices["initial.probs"]] = 0.1
    vector[slices["emissions.weights"]] = torch.tensor([40.0, -40.01]).double()
    again, in_logs = [], half_log_kernels.counts_log
    monkeypatch.setattr(
        half_log_kernels, "counts_log", lambda *a: (again.append(a[4]), in_logs(*a))
    )
    ours = program.evaluated(vector, jacobian=True)
    steps = ComponentSteps(program.model, data, None)
    totals = [steps.expect([ours.params])[0][0] for _ in range(2)]
    assert again == [0, 1] * 3
    graph = differentiated(program.coordinates, program.log_parts, vector, True)
    assert totals == pytest.approx([graph.log_likelihood] * 2, rel=1e-12)
    assert ours.log_likelihood == pytest.approx(graph.log_likelihood, rel=1e-12)
    torch.testing.assert_close(ours.slope, graph.slope, rtol=1e-11, atol=1e-9)
    hidden = program.model.hidden_markov_at(ours.params, data)
    counts = hidden.expected_counts(data.emissions)
    for name in ("initial", "transition", "emission"):
        found, expected = getattr(steps.counts, name)[0], getattr(counts, name)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def slope_at(program, points):
    """Slopes of a program's density, volume included, by torch."""
    parts = program.coordinates, program.log_parts
    return torch.stack([differentiated(*parts, x, jacobian=True).slope for x in points])


@pytest.mark.parametrize("name", ["driven", "repeated", "shared", "weighed sessions"])
def test_they_are_the_same_however_steps_are_put_together(name, monkeypatch):
    program = programs(name)[1]
    point = points(program.coordinates.size)[1]
    whole = hessian(program, point, jacobian=False)
    monkeypatch.setattr(compiled, "_PIECE_SIZE", 100)
    monkeypatch.setattr(scores, "_TOGETHER", 1)
    monkeypatch.setattr(scores, "_LEAST_STEPS", 7)
    again = Program.of(program.model, program.data)
    assert len(again._direct.chain.passes[0].work.ranges) > 1
    torch.testing.assert_close(
        hessian(again, point, False), whole, rtol=1e-9, atol=1e-9
    )


def test_second_derivatives_pass_over_the_data_once(monkeypatch):
    """Torch sees no more than priors; each step's scores are seen once."""
    program, seen = programs("driven")[1], []
    monkeypatch.setattr(
        type(program), "log_parts", lambda *_: pytest.fail("the graph was asked")
    )
    covary = scores.covary

    def recorded(begins, *arguments):
        seen.append(len(begins))
        covary(begins, *arguments)

    monkeypatch.setattr(scores, "covary", recorded)
    hessian(program, points(program.coordinates.size)[0])
    assert sum(seen) == STEPS


@pytest.mark.parametrize("name", CASES)
def test_expected_counts_by_tables_are_those_of_the_distribution(name):
    program = programs(name)[1]
    model, data = program.model, program.data
    vectors = points(program.coordinates.size)
    sets = [program.coordinates.unpack(vector) for vector in vectors]
    steps = ComponentSteps(model, data, None)
    likelihoods, joints = steps.expect(sets)
    assert steps._tabled is not None
    for number, params in enumerate(sets):
        hidden = model.hidden_markov_at(params, data)
        expected = hidden.expected_counts(data.emissions)
        for kind, count in zip(expected._fields, expected):
            ours = getattr(steps.counts, kind)[number]
            torch.testing.assert_close(ours, count, rtol=1e-9, atol=1e-11)
        likelihood, prior = (part.item() for part in program.log_parts(params))
        assert likelihoods[number] == pytest.approx(likelihood, rel=1e-12)
        assert joints[number] == pytest.approx(likelihood + prior, rel=1e-12)


@pytest.mark.parametrize("name", ["shared", "shared, repeated"])
def test_an_m_step_by_a_table_is_that_of_the_components_definition(name):
    model, data = CASES[name]
    program = Program.of(model, data)
    vectors = points(program.coordinates.size)[:2]
    sets = [program.coordinates.unpack(vector) for vector in vectors]
    steps = ComponentSteps(program.model, program.data, None)
    steps.expect(sets)
    step, counts = steps.m_steps["transitions"], steps.counts.transition
    own = {n: v for n, v in stack(sets).items() if n.startswith("transitions.")}
    rows = step.blocks.pack(own).numpy() + 0.3
    ours = step._tabled(counts, own)
    graph = step._differentiated(counts, own, step.blocks)
    for which in (np.array([0, 1]), np.array([1])):
        for found, expected in zip(ours(rows[which], which), graph(rows[which], which)):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "name",
    [
        "sticky",
        "driven",
        "repeated",
        "other kinds of priors",
        "gaussian",
        "heavy tails",
    ],
)
def test_slopes_are_differences_of_values(name):
    program = programs(name)[1]
    point = points(program.coordinates.size)[1]
    slope = program.evaluated(point, jacobian=True).slope
    for number, step in enumerate(1e-5 * torch.eye(len(point), dtype=torch.float64)):
        ends = [program.evaluated(point + s * step, True).log_density for s in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(
            float(slope[number]), rel=1e-6, abs=1e-5
        )


def test_a_result_is_kept_when_the_next_is_made():
    program = programs("driven")[1]
    first, second = points(program.coordinates.size)[:2]
    found = program.evaluated(first, True)
    kept = found.slope.clone(), {n: v.clone() for n, v in found.params.items()}
    before = first.clone()
    program.evaluated(second, True)
    assert torch.equal(found.slope, kept[0]) and torch.equal(first, before)
    first += 1.0
    assert all(torch.equal(found.params[n], v) for n, v in kept[1].items())


class Own(gh.Bernoulli):
    """A family of a user's own that is derived from a known one."""

    def distribution(self, predictor):
        return dist.Bernoulli(logits=2.0 * predictor, validate_args=False)


class OwnModel(gh.GLMHMM):
    """A model of a user's own that is derived from a known one."""

    def hidden_markov(self, data):
        return super().hidden_markov(data)


@pytest.mark.parametrize(
    "model",
    [
        gh.GLMHMM(2, Own()),
        OwnModel(2, gh.Bernoulli()),
        gh.GLMHMM(2, gh.Bernoulli(), initial=gh.StationaryInitial()),
        gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True)),
        gh.GLMHMM(2, gh.Bernoulli(gh.priors.Hierarchical(dist.HalfNormal(1.0)))),
    ],
    ids=["family", "model", "stationary", "sessions", "hyperparameter"],
)
def test_what_is_not_known_is_left_to_the_graph(model):
    program = Program.of(model, recorded())
    assert program._direct is None
    point = points(program.coordinates.size)[0]
    found = program.evaluated(point, jacobian=True)
    value = float(program.log_density(point, jacobian=True))
    assert found.log_density == pytest.approx(value, rel=1e-13)


def test_single_precision_is_left_to_the_graph():
    single = recorded(dtype=torch.float32)
    assert Program.of(gh.GLMHMM(2, gh.Bernoulli()), single)._direct is None


def test_numbers_that_overflow_give_no_warning_and_no_number():
    program = programs("driven")[0]
    point = torch.full((program.coordinates.size,), 1e308, dtype=torch.float64)
    assert not np.isfinite(program.evaluated(point, True).log_density)


def test_the_samplers_potential_has_the_slope_of_the_density():
    program = programs("sticky")[1]
    size = program.coordinates.size
    scale = torch.randn(
        size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    potential = Potential(program, Whitening(points(size)[0], 0.1 * scale))
    point = points(size)[1].requires_grad_()
    energy = potential({"z": point})
    (slope,) = torch.autograd.grad(energy, point)
    expected = -program.log_density(potential.whitening(point), jacobian=True)
    (wanted,) = torch.autograd.grad(expected, point)
    assert energy.item() == pytest.approx(expected.item(), rel=1e-13)
    torch.testing.assert_close(slope, wanted, rtol=1e-9, atol=1e-9)


def test_a_program_is_sent_to_processes_without_what_they_make_themselves():
    program = programs("sticky")[1]
    point = points(program.coordinates.size)[0]
    here = program.evaluated(point, True)
    sent = pickle.loads(pickle.dumps(program))
    assert "_direct" not in vars(sent)
    assert torch.equal(sent.evaluated(point, True).slope, here.slope)

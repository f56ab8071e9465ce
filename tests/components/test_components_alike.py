"""Families of several outputs alike: each is the single family on a column."""

import itertools

import numpy as np
import pytest
import torch
from component_cases import bound, within
from families import normals, random_params, seeded_generator
from torch.distributions import Dirichlet, LogNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Gamma, Lapsing, NegativeBinomial, StudentT
from glmhmm_pyro.inference.steps.blocks import LogPrior, log_probs_and_sites
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.testing import check_emission

EVEN = Dirichlet(torch.full((2,), 2.0))
RIDGE, WIDE = Normal(0.0, 2.0), LogNormal(0.0, 1.0)
NAMES = ("a", "b", "c")
QUICK = {"num_restarts": 2, "progress": False}
FAMILIES = {
    "bernoulli": lambda **own: gh.Bernoulli(RIDGE, **own),
    "categorical": lambda **own: gh.Categorical(3, RIDGE, **own),
    "lapsing": lambda **own: Lapsing(gh.Bernoulli(RIDGE, **own)),
    "counts": lambda **own: gh.Poisson(RIDGE, **own),
    "overdispersed": lambda **own: NegativeBinomial(RIDGE, WIDE, **own),
    "normal": lambda **own: gh.Gaussian(prior=RIDGE, scale_prior=WIDE, **own),
    "positive": lambda **own: Gamma(RIDGE, WIDE, **own),
    "heavy-tailed": lambda **own: StudentT(RIDGE, WIDE, WIDE, **own),
}
SLOW = ("lapsing", "normal")  # By its definition, or by formulas.
LABELS = ("bernoulli", "categorical", "lapsing")
every_family = pytest.mark.parametrize("family", FAMILIES)


def several(family, lengths=(3, 1, 4), seed=0, given=NAMES):
    """Sessions with three outputs, some entries and a whole step of which are missing.

    Two states follow each other in stretches of ten steps; an output tells them apart.
    """
    steps = sum(lengths)
    noise = normals(steps, 4, seed=seed)
    x, state = noise[:, 3], (torch.arange(steps) // 10 % 2).double()[:, None]
    drive = (2 * state - 1) * torch.tensor([1.5, -1.0, 0.8]).double()
    drive = drive + 0.3 * x[:, None]
    if family == "categorical":
        y = ((drive + noise[:, :3] > 0).double() + (noise[:, :3] > 1.0)).clamp(max=2)
    elif family in LABELS:
        y = (drive + noise[:, :3] > 0).double()
    elif family in ("counts", "overdispersed"):
        rates = (0.7 * drive + 0.5 * noise[:, :3]).exp()
        y = torch.poisson(rates, generator=seeded_generator(seed))
    else:
        y = drive + 0.5 * noise[:, :3]
        y = y.exp() if family == "positive" else y
    y = y.clone()
    y.view(-1)[1::7] = torch.nan
    y[-1] = torch.nan
    return gh.Sequences(
        y,
        torch.stack([x, torch.ones_like(x)], -1),
        lengths=list(lengths),
        covariate_names=["x", "one"],
        emission_names=given,
    )


def apart(family):
    """The same families one by one, put together by hand."""
    return gh.Outputs(**{name: FAMILIES[family]() for name in NAMES})


def shared_out(params):
    """Parameters of outputs side by side as those of the families one by one."""
    found = {n: v for n, v in params.items() if not n.startswith("emissions.")}
    for site, value in params.items():
        if site.startswith("emissions."):
            own = site.removeprefix("emissions.")
            for number, name in enumerate(NAMES):
                found[f"emissions.{name}.{own}"] = value[:, number]
    return found


@every_family
def test_every_use_of_the_family_is_its_definition(family):
    check_emission(lambda: FAMILIES[family](num_outputs=3))


@every_family
def test_summed_paths_are_products_of_single_outputs(family):
    """All paths written out, a column of each step by the family of one output."""
    data = several(family)
    model, _ = bound(FAMILIES[family](num_outputs=3), data=data, states=2)
    alone, _ = bound(apart(family), data=data, states=2)
    params = random_params(model, data)
    values = data.emissions.double()
    logs = torch.zeros(data.num_steps, 2).double()
    for number, name in enumerate(NAMES):
        one = getattr(alone.emissions, name)
        for t, k in itertools.product(range(data.num_steps), range(2)):
            if not data.mask[t, number]:
                continue
            state, row = torch.tensor(k), data.covariates[t]
            law = within(alone, shared_out(params), lambda: one(state, row))
            logs[t, k] += law.log_prob(values[t, number])
    first, moves = params["initial.probs"].log(), params["transitions.probs"].log()
    total = 0.0
    for session in range(data.num_sessions):
        rows = range(data.num_steps)[data.session_rows(session)]
        paths = [
            first.flatten()[path[0]]
            + sum(moves[i, j] for i, j in itertools.pairwise(path))
            + sum(logs[t, k] for t, k in zip(rows, path))
            for path in itertools.product(range(2), repeat=len(rows))
        ]
        total = total + torch.stack(paths).logsumexp(0)
    hidden = model.hidden_markov_at(params, data)
    torch.testing.assert_close(hidden.log_prob(data.emissions), total)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "lapsing"])
def test_em_goes_where_the_families_put_together_by_hand_go(family):
    data = several(family, (40, 20))
    model, _ = bound(FAMILIES[family](num_outputs=3), data=data, states=2)
    other, _ = bound(apart(family), data=data, states=2)
    params = random_params(model, data, size=0.4)
    em = gh.EM(num_iters=25, tol=1e-9)
    (one,) = em.run(model, data, [params])
    (two,) = em.run(other, data, [shared_out(params)])
    assert one.log_joints[-1] == pytest.approx(two.log_joints[-1], abs=1e-3)
    assert one.log_joints[-1] > one.log_joints[0] + 5
    for name, value in shared_out(one.params).items():
        torch.testing.assert_close(value, two.params[name], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in SLOW])
def test_the_fast_m_step_has_the_derivatives_of_the_definition(family):
    data = several(family)
    model, _ = bound(FAMILIES[family](num_outputs=3), data=data, states=2)
    component = model.emissions
    step = MStep(component, data)
    counts = torch.rand(2, 8, 2, generator=seeded_generator()).double()
    counts = component.counted(counts, data)
    own = [
        {n: v for n, v in random_params(model, data, seed=s).items() if "emis" in n}
        for s in (1, 2)
    ]
    sets = {n: torch.stack([params[n] for params in own]) for n in own[0]}
    rows = step.blocks.pack(sets).requires_grad_()
    logs, sites = log_probs_and_sites(component, data, step.blocks.unpack(rows))
    expected = step.blocks.sum_counts(counts, logs)
    (slope,) = torch.autograd.grad(expected.sum(), rows)
    prepared, points = step.fast.prepare(counts), rows.detach().numpy()
    values, found = step.fast(points, np.arange(4), prepared)
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-9)
    np.testing.assert_allclose(found, slope, atol=1e-8)
    some, slopes = step.fast(points[[3, 1]], np.array([3, 1]), prepared)
    np.testing.assert_allclose(some, values[[3, 1]])
    np.testing.assert_allclose(slopes, found[[3, 1]])
    beginning = step.fast.begin(points, prepared)
    np.testing.assert_allclose(beginning.values, values)
    np.testing.assert_allclose(beginning.gradient, found)
    _check_prior_curvature(step, sites, sets, points, prepared)


def _check_prior_curvature(step, sites, sets, points, prepared):
    """Second derivatives of the log prior stand where their numbers do."""
    rough = step.fast.begin(points, prepared).curvature
    width = rough.shape[1] * rough.shape[-1]
    assert width == points.shape[1] and np.isfinite(rough).all()
    prior = LogPrior(step.blocks, sites, 2)
    found = prior.curvature(points, rough.shape)
    which = np.arange(len(points))
    for number in range(width):
        near = [points.copy(), points.copy()]
        near[0][:, number] -= 1e-5
        near[1][:, number] += 1e-5
        low, high = (prior(each, which)[1][:, number] for each in near)
        row, place = divmod(number, rough.shape[-1])
        expected = np.maximum((low - high) / 2e-5, 0.0)
        np.testing.assert_allclose(found[:, row, place, place], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_slopes_by_hand_are_those_of_automatic_differentiation(family):
    data = several(family)
    model, _ = bound(FAMILIES[family](num_outputs=3), data=data, states=2)
    table = model.emissions.log_table(data)
    weights = random_params(model, data)["emissions.weights"].requires_grad_()
    logs = within(
        model, {"emissions.weights": weights}, lambda: model.emissions.log_probs(data)
    )
    found = table({"weights": weights.detach().numpy()})
    np.testing.assert_allclose(found, logs.detach(), atol=1e-12)
    counts = torch.rand(8, 2, generator=seeded_generator()).double()
    (slope,) = torch.autograd.grad((counts * logs).sum(), weights)
    np.testing.assert_allclose(
        table.slopes(counts.numpy())["weights"], slope, atol=1e-12
    )


def penalised(family):
    """A model of two states with priors on everything."""
    return gh.GLMHMM(2, family, gh.Stationary(EVEN), gh.Initial(EVEN))


@pytest.fixture(scope="module")
def binary():
    data = several("bernoulli", (60, 40), given=["left", "right", "mouth"])
    return gh.fit(penalised(gh.Bernoulli(RIDGE, num_outputs=3)), data, **QUICK), data


def test_outputs_are_told_by_their_names(binary, tmp_path):
    fit, data = binary
    names = ["left", "right", "mouth"]
    weights = fit.parameters["emissions.weights"]
    assert weights.dims == ("state", "output", "covariate")
    assert weights.coords["output"].values.tolist() == names
    assert list(fit.predict(data)) == names
    fit.save(tmp_path / "fit.nc")
    again = type(fit).load(tmp_path / "fit.nc")
    shown = again.parameters["emissions.weights"]
    assert shown.coords["output"].values.tolist() == names
    assert again.predict(data).equals(fit.predict(data))
    turned = fit.predict(data[:].replace(emission_names=names))
    assert turned.equals(fit.predict(data))
    unnamed = several("bernoulli", given=None)
    model = gh.GLMHMM(1, gh.Bernoulli(RIDGE, num_outputs=3))
    made = gh.fit(model, unnamed, **QUICK)
    assert list(made.predict(unnamed)) == ["y0", "y1", "y2"]


def test_predictions_are_mixtures_of_what_states_say_of_each_output(binary):
    fit, data = binary
    states = fit.decode(data)["predicted_probs"].values
    odds = torch.einsum(
        "tf,kof->tko", data.covariates, fit.params["emissions.weights"]
    ).sigmoid()
    expected = np.einsum("tk,tko->to", states, odds)
    for number, found in enumerate(fit.predict(data).values()):
        np.testing.assert_allclose(found[:, 1], expected[:, number])
        np.testing.assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_labels_can_be_followed_step_by_step(family):
    data = several(family, (20, 10))
    model = gh.GLMHMM(2, FAMILIES[family](num_outputs=3))
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    follower, ahead = fit.online(), fit.predict(data)
    filtered = fit.decode(data)["filtered_probs"].values
    seen = data.emissions.double().numpy().copy()
    seen[~data.mask.numpy()] = np.nan
    for t in range(20):
        forecast = follower.predict(data.covariates[t]).emissions
        for name in NAMES:
            np.testing.assert_allclose(forecast[name], ahead[name][t], atol=1e-12)
        after = follower.update(data.covariates[t], seen[t])
        np.testing.assert_allclose(after, filtered[t], atol=1e-12)
    with pytest.raises(ValueError, match="one that the model's family can emit"):
        follower.update(data.covariates[0], [0.0, 7.0, 0.0])


def test_simulated_outputs_come_as_often_as_their_states_say(binary):
    fit, data = binary
    drawn, states = fit.simulate(data, seed=3)
    assert drawn.emissions.shape == data.emissions.shape
    assert drawn.emission_names == data.emission_names
    probs = torch.einsum(
        "tf,kof->tko", data.covariates, fit.params["emissions.weights"]
    ).sigmoid()[torch.arange(len(states)), torch.as_tensor(states)]
    off = (drawn.emissions.double() - probs).sum(0)
    # Of three sums each beyond 5 standard errors: two false alarms in a million.
    assert (off.abs() < 5 * (probs * (1 - probs)).sum(0).sqrt()).all()


def test_checks_and_curves_know_every_output(binary):
    fit, data = binary
    table = gh.analysis.psychometric(fit, data, "x", output="right", num_bins=3)
    assert table.attrs["class"] == "1"
    model = table.xs("model").xs("0", level="state")
    grid = torch.tensor(model.index.tolist()).double()
    weights = fit.params["emissions.weights"][0, 1]
    expected = (grid * weights[0] + weights[1]).sigmoid()
    np.testing.assert_allclose(model["estimate"], expected)
    curve = gh.analysis.response_curve(
        fit, data, "x", [0.5], part="emissions", output="mouth", num_rows=5
    )
    weights = fit.params["emissions.weights"][:, 2]
    expected = (0.5 * weights[:, 0] + weights[:, 1]).sigmoid()
    found = curve.xs("1", level="destination")["estimate"]
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="output must be one of left, right, mouth"):
        gh.analysis.response_curve(fit, data, "x", [0.5], part="emissions")
    table = gh.analysis.residuals(fit, data)
    assert fit.check(data).made and gh.check(fit.model, data).made
    assert ["left = 1", "right = 1", "mouth = 1"] == [*table.index.unique("emission")]


def test_errors_and_draws_are_of_every_output(binary):
    fit, data = binary
    family = gh.Outputs(**{n: gh.Bernoulli(RIDGE) for n in data.emission_names})
    other = gh.fit(penalised(family), data, **QUICK)
    found = fit.standard_errors(data)["emissions.weights"]
    for number, name in enumerate(data.emission_names):
        expected = other.standard_errors(data)[f"emissions.{name}.weights"]
        sides = [found[:, number], found[::-1, number]]
        assert min(
            float(abs(side.values - expected.values).max()) for side in sides
        ) < (1e-3)


def test_a_channel_that_covariates_separate_is_named():
    x = np.linspace(-1, 1, 60)
    y = np.column_stack([np.arange(60) % 2, x > 0])
    data = gh.Sequences(
        y,
        np.column_stack([x, np.ones(60)]),
        covariate_names=["x", "one"],
        emission_names=["noise", "sharp"],
    )
    model = gh.GLMHMM(1, gh.Bernoulli(num_outputs=2))
    before = gh.check(model, data)
    assert [f.code for f in before] == ["separation"]
    assert "emissions of sharp" in next(iter(before)).sentence
    with pytest.warns(gh.ConvergenceWarning, match="emissions, sharp, in state 0"):
        fit = gh.fit(model, data, num_restarts=1, progress=False)
    assert not any("noise" in sentence for sentence in fit.unbounded)


def test_several_outputs_stand_beside_other_families():
    data = several("bernoulli", (30, 10))
    family = gh.Outputs(
        licks=gh.Bernoulli(RIDGE, num_outputs=2),
        b=gh.Bernoulli(RIDGE),
        columns={"licks": ["c", "a"]},
    )
    fit = gh.fit(gh.GLMHMM(2, family), data, num_restarts=1, progress=False)
    params = {n: v for n, v in fit.params.items() if not n.startswith("emissions.")}
    own = fit.params["emissions.licks.weights"]
    params |= {
        "emissions.c.weights": own[:, 0],
        "emissions.b.weights": fit.params["emissions.b.weights"],
        "emissions.a.weights": own[:, 1],
    }
    other, _ = bound(apart("bernoulli"), data=data, states=2)
    hidden = other.hidden_markov_at(params, data)
    assert hidden.log_prob(data.emissions) == pytest.approx(fit.log_likelihood)
    assert list(fit.predict(data)) == ["licks.c", "licks.a", "b"]
    assert fit.parameters["emissions.licks.weights"].coords[
        "output"
    ].values.tolist() == [
        "c",
        "a",
    ]
    forecast = fit.online().predict(data.covariates[0]).emissions
    np.testing.assert_allclose(forecast["licks.a"], fit.predict(data)["licks.a"][0])


@pytest.mark.parametrize("make", [*FAMILIES.values()], ids=FAMILIES)
def test_the_number_of_outputs_is_checked(make):
    with pytest.raises(ValueError, match="num_outputs must be at least 2, got 1"):
        make(num_outputs=1)
    data = several("counts")
    with pytest.raises(ValueError, match=r"\(8, 3\); give \w+\(num_outputs=3\)"):
        gh.GLMHMM(1, make()).bind(data)
    with pytest.raises(ValueError, match=r"\(steps, 4\) for \w+\(num_outputs=4\)"):
        gh.GLMHMM(1, make(num_outputs=4)).bind(data)


def test_what_a_family_of_several_cannot_emit_is_refused():
    data = several("normal")
    for family, said in [
        (gh.Bernoulli(num_outputs=3), "labels 0 to 1 for Bernoulli"),
        (gh.Categorical(3, num_outputs=3), "labels 0 to 2 for Categorical"),
        (NegativeBinomial(num_outputs=3), "counts 0, 1, 2"),
        (Gamma(num_outputs=3), "must be positive for Gamma"),
    ]:
        with pytest.raises(ValueError, match=said):
            gh.GLMHMM(1, family).bind(data)

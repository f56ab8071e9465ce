"""Fits that follow an experiment, against decode and predict of the whole session."""

import dataclasses
from itertools import cycle

import numpy as np
import pandas as pd
import pytest
import torch
from families import (
    EMISSIONS,
    INITIALS,
    MASK,
    TRANSITIONS,
    random_data,
    random_params,
)
from made_fits import made_fit, with_posterior
from test_chain_states import NegativeBinomialDwell
from test_inference_varying import OwnBias
from test_inference_varying import OwnMoves as OwnGroupMoves
from test_inference_varying import sequences

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    ByLevel,
    KnownStates,
    Levels,
    SemiMarkov,
    StationaryInitial,
    TwoLevels,
    Varying,
    dwell,
)
from glmhmm_pyro.covariates import (
    BSpline,
    Design,
    ExponentialHistory,
    Factor,
    Imputed,
    Indicator,
    Interaction,
    Intercept,
    Lags,
    Missing,
    PreviousChoice,
    RaisedCosine,
    Signed,
    Spline,
    Standardised,
    StepInSession,
    WinStayLoseSwitch,
)
from glmhmm_pyro.covariates.terms import Term
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.program.program import Program

CLOSE = {"rtol": 0, "atol": 1e-12}


UNSEEN = ("choice", "reward")


def followed(fit, data, steps_ahead=3, rows=None, online=None):
    """What ``online`` says of every step of all sessions, as decode and predict do."""
    online = online or fit.online()
    names = ("predicted", "filtered", "log_prob", "one", "later")
    found = {name: [] for name in names}
    for number, session in enumerate(data):
        begin(online, data, number)
        first = int(data.starts[number])
        steps = [inputs(data, first + t, rows) for t in range(session.num_steps)]
        ahead = []
        for t, (row, options) in enumerate(steps):
            coming = steps[t : t + steps_ahead]
            listed = {name: [o[name] for _, o in coming] for name in options}
            ahead.append(online.predict([r for r, _ in coming], **listed).emissions)
            forecast = online.predict(without(row, *UNSEEN), **options)
            found["predicted"].append(forecast.states)
            found["one"].append(forecast.emissions)
            y = behaviour(data, first + t)
            found["filtered"].append(
                online.update(without(row, "choice"), y, **options)
            )
            found["log_prob"].append(online.log_prob)
            past = max(0, t - steps_ahead + 1)
            found["later"].append(taken(ahead[past], t - past))
    return found


def begin(online, data, number):
    options = {} if data.groups is None else {"group": data.groups[number]}
    source = data.design_source
    if data.initial_covariates is not None and source is None:
        options["initial_covariates"] = data.initial_covariates[number]
    online.start(data.session_names[number], **options)


def inputs(data, step, rows):
    if rows is not None:
        return rows[step], {}
    if data.transition_covariates is data.covariates:
        return data.covariates[step], {}
    u = data.transition_covariates[step]
    return data.covariates[step], {"transition_covariates": u}


def without(row, *names):
    """What is known of a step before its behaviour."""
    if not isinstance(row, dict):
        return row
    return {name: value for name, value in row.items() if name not in names}


def behaviour(data, step):
    y = data.emissions[step].numpy().astype(float)
    mask = True if data.mask is None else data.mask[step].numpy()
    return np.where(np.broadcast_to(mask, y.shape), y, np.nan)


def taken(said, place):
    if isinstance(said, dict):
        return {name: values[place] for name, values in said.items()}
    return said[place]


def assert_same(fit, data, steps_ahead=3, num_draws=None, **options):
    """That steps, one at a time, give what the whole session does."""
    data = fit.as_fitted(data)
    found = followed(fit, data, steps_ahead, **options)
    decoded = fit.decode(data, num_draws=num_draws)
    for name in ("predicted", "filtered"):
        np.testing.assert_allclose(found[name], decoded[f"{name}_probs"], **CLOSE)
    np.testing.assert_allclose(found["log_prob"], decoded.log_prob_per_step, **CLOSE)
    for name, ahead in {"one": 1, "later": steps_ahead}.items():
        wanted = fit.predict(data, steps_ahead=ahead, num_draws=num_draws)
        if not isinstance(found[name][0], dict):
            np.testing.assert_allclose(found[name], wanted, **CLOSE)
            continue
        for output in found[name][0]:
            values = [one[output] for one in found[name]]
            np.testing.assert_allclose(values, wanted[output], **CLOSE)


def any_fit(data, family, transitions=None, initial=None, states=3):
    model = gh.GLMHMM(states, family, transitions, initial)
    return made_fit(model, data, random_params(model, data))


@pytest.mark.parametrize(
    "family, transitions, initial",
    [
        *zip(EMISSIONS, cycle(TRANSITIONS), cycle(INITIALS)),
        *(("bernoulli", t, i) for t in TRANSITIONS for i in INITIALS),
    ],
)
def test_every_step_is_as_decode_and_predict_have_it(family, transitions, initial):
    data = random_data(family, mask=MASK)
    parts = EMISSIONS[family](), TRANSITIONS[transitions](), INITIALS[initial]()
    assert_same(any_fit(data, *parts), data)


class OwnMoves(gh.components.Transitions):
    """A user's transitions, known by ``forward`` alone."""

    def __init__(self):
        super().__init__()
        self.weights = gh.Site("state", "covariate")

    def forward(self, state, covariates):
        """Softmax of the square of a predictor for every destination."""
        scores = covariates @ self.weights.T
        stays = torch.nn.functional.one_hot(state, self.num_states)
        return torch.distributions.Categorical(logits=scores**2 + 2 * stays)


class OwnBernoulli(gh.Bernoulli):
    """A user's law on the package's predictors."""

    def distribution(self, predictor):
        """The complementary log-log link."""
        return torch.distributions.Bernoulli(probs=1 - (-predictor.exp()).exp())


def outputs_data(missing=True, states=True, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"choice": rng.integers(0, 2, 8), "rt": rng.gamma(2.0, size=8)}
    columns |= {"a": rng.poisson(2.0, 8), "b": rng.poisson(1.0, 8)}
    columns |= {"state": rng.integers(0, 2, 8)}
    y = np.column_stack([*columns.values()]).astype(float)
    y[:, 4][[0, 2, 3, 6]] = np.nan
    if missing:
        y[1, 0] = y[2, 1] = y[4, 2] = y[5, 3] = np.nan
        y[6] = np.nan
    return gh.Sequences(
        y, rng.normal(size=(8, 2)), lengths=[5, 3], emission_names=[*columns]
    )


def outputs_family(known):
    families = {"choice": gh.Bernoulli(), "rt": gh.components.Gamma()}
    columns = {"spikes": ["a", "b"]}
    families |= {"spikes": gh.Poisson(num_outputs=2), "state": known}
    read = {"choice": ["x1"]}
    return gh.Outputs(columns=columns, covariates=read, **families)


def correlated():
    data = random_data("normals")
    mask = torch.ones(8, 2, dtype=torch.bool)
    mask[1, 0] = mask[2, 1] = mask[5, 0] = mask[5, 1] = False
    return gh.Sequences(
        data.emissions, data.covariates, lengths=data.lengths, mask=mask
    )


def clocked():
    """Sessions in which slow states may be left at some steps only."""
    data = random_data()
    pokes = np.array([0, 1, 0, 0, 1, 0, 0, 1.0])
    u = np.column_stack([data.transition_covariates, pokes])
    return gh.Sequences(
        data.emissions,
        data.covariates,
        lengths=data.lengths,
        transition_covariates=u,
        transition_covariate_names=["u0", "u1", "poke"],
    )


KINDS = {
    "one state": lambda: (random_data(), gh.Bernoulli(), None, None, 1),
    "outputs": lambda: (outputs_data(), outputs_family(KnownStates()), None, None, 2),
    "outputs, one by torch": lambda: (
        outputs_data(),
        outputs_family(OwnKnown()),
        None,
        None,
        2,
    ),
    "partly observed": lambda: (correlated(), gh.Gaussian(2, "full"), None, None, 2),
    "shared scale": lambda: (
        random_data("normal"),
        gh.Gaussian(shared_scale=True),
        None,
        None,
        2,
    ),
    "stationary start": lambda: (
        random_data(mask=MASK),
        gh.Bernoulli(),
        gh.Stationary(),
        StationaryInitial(),
        3,
    ),
    "chosen covariates": lambda: (
        random_data(features=3),
        gh.Bernoulli(covariates=["x2", "x0"]),
        gh.InputDriven(covariates=["u1"]),
        gh.InitialGLM(covariates=["v1"]),
        3,
    ),
    "two levels": lambda: (random_data(), gh.Bernoulli(), None, None, Levels(2, 2)),
    "two driven levels": lambda: (
        random_data(),
        ByLevel(gh.Bernoulli(), over="both"),
        TwoLevels(gh.InputDriven(), gh.InputDriven()),
        None,
        Levels(2, 2),
    ),
    "levels with a clock": lambda: (
        clocked(),
        gh.Bernoulli(),
        TwoLevels(gh.InputDriven(), clock="poke"),
        None,
        Levels(2, 2),
    ),
    "driven dwell times": lambda: (
        random_data(),
        gh.Bernoulli(),
        SemiMarkov(dwell.Poisson(3, driven=True), jumps="driven"),
        None,
        3,
    ),
    "first dwell begun before": lambda: (
        random_data(mask=MASK),
        gh.Bernoulli(),
        SemiMarkov(dwell.NegativeBinomial(3), first="stationary"),
        None,
        3,
    ),
    "first dwell by age": lambda: (
        random_data(mask=MASK),
        gh.Bernoulli(),
        SemiMarkov(dwell.Categorical(3), first="stationary"),
        StationaryInitial(),
        3,
    ),
    "varying by group": lambda: (
        sequences(),
        Varying(gh.Bernoulli(), over="group", law=None),
        None,
        None,
        2,
    ),
    "own moves": lambda: (random_data(), gh.Bernoulli(), OwnMoves(), None, 3),
    "own law": lambda: (random_data(), OwnBernoulli(), None, None, 2),
    "phases": lambda: (
        random_data(),
        gh.Bernoulli(),
        NegativeBinomialDwell(3),
        None,
        2,
    ),
    "by group": lambda: (
        sequences(),
        OwnBias("group"),
        OwnGroupMoves(),
        gh.Initial(per_session=True),
        2,
    ),
}


class OwnKnown(KnownStates):
    """Which the package doesn't know to read no covariates."""

    def forward(self, state, covariates):
        """As it was."""
        return super().forward(state, covariates)


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize(
    "family, name, values",
    [
        # No mean, and hardly any tails.
        (gh.components.StudentT, "df", [0.5, 3.0, 1e9]),
        # Far from its mean, and hardly anything but that.
        (gh.components.Gamma, "concentration", [1e-3, 2.0, 1e6]),
        # All but a Poisson one, and hardly any.
        (gh.components.NegativeBinomial, "dispersion", [1e-10, 0.5, 1e3]),
        (
            lambda num_outputs: gh.components.Lapsing(
                gh.Categorical(3, num_outputs=num_outputs)
            ),
            "guessing",
            [[1.0, 0, 0, 0], [0.0, 0.5, 0.2, 0.3], [1 - 3e-9, 1e-9, 1e-9, 1e-9]],
        ),
    ],
)
def test_laws_are_exact_at_the_ends_of_their_parameters(family, name, values, outputs):
    model = gh.GLMHMM(3, family(num_outputs=outputs))
    rng = np.random.default_rng(4)
    y = rng.poisson(1.5, (12, outputs or 1)) % 3 + float(name == "concentration")
    y = torch.from_numpy(y if outputs else y[:, 0])
    if name in ("df", "concentration"):
        y = y + torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    data = gh.Sequences(y, rng.normal(size=(12, 2)), lengths=[8, 4])
    params = random_params(model, data)
    own = params[f"emissions.{name}"]
    given = torch.tensor(values, dtype=torch.float64)
    shape = own.shape[:1] + (1,) * (own.dim() - given.dim()) + given.shape[1:]
    params[f"emissions.{name}"] = given.reshape(shape).expand(own.shape).clone()
    assert_same(made_fit(model, data, params), data)


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_for_models_of_all_kinds(kind):
    data, *parts = KINDS[kind]()
    assert_same(any_fit(data, *parts), data)


@pytest.mark.parametrize("kind", ["outputs", "own moves", "by group", "bernoulli"])
@pytest.mark.parametrize("num_draws", [None, 7])
def test_draws_are_weighted_by_the_behaviour_so_far(kind, num_draws):
    if kind == "bernoulli":
        data = random_data(mask=MASK)
        fit = any_fit(data, gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM())
    else:
        data, *parts = KINDS[kind]()
        fit = any_fit(data, *parts)
    fit = with_posterior(fit, data, num_draws=6, scale=0.7)
    labels = torch.stack([torch.randperm(fit.model.num_states) for _ in range(12)])
    posterior = dataclasses.replace(fit.posterior, by_label=labels.reshape(2, 6, -1))
    fit = dataclasses.replace(fit, posterior=posterior)
    online = fit.online(num_draws=num_draws)
    assert_same(fit, data, num_draws=num_draws, online=online)


class Running(Term):
    """A user's term: the mean of the choices so far."""

    label, follows = "running", "choice"

    def names(self):
        """One column."""
        return ("running",)

    def values(self, table):
        """Of every row, the mean of those before it in its session."""
        y = np.nan_to_num(table.numbers("choice"))
        ends = np.cumsum(table.lengths)
        sessions = [y[e - n : e] for e, n in zip(ends, table.lengths)]
        means = [np.cumsum([0, *s[:-1]]) / (np.arange(len(s)) + 1) for s in sessions]
        return np.concatenate(means)[:, None]


class Hindsight(Running):
    """A term that knows how a session ends."""

    def values(self, table):
        """The session's mean of a cue, in all its rows."""
        ends = np.cumsum(table.lengths)
        stim = table.numbers("stim")
        means = [stim[e - n : e].mean() for e, n in zip(ends, table.lengths)]
        return np.repeat(means, table.lengths)[:, None]


def trials(labels=True, seed=0):
    """A table of choices, some of them missing, with columns of all kinds."""
    rng = np.random.default_rng(seed)
    steps = 30
    choice = rng.integers(0, 2, steps)
    names = np.array(["left", "right"]) if labels else np.arange(2.0)
    frame = pd.DataFrame(
        {
            "day": np.repeat(["mon", "tue", "wed"], [12, 1, 17]),
            "stim": rng.normal(size=steps),
            "block": rng.choice(["a", "b", "c"], steps),
            "level": rng.choice([0.0, 0.5, 1.0], steps),
            "pupil": rng.normal(size=steps),
            "reward": rng.integers(0, 2, steps),
            "answer": names[rng.integers(0, 2, steps)],
            "choice": names[choice],
        }
    )
    frame.loc[[3, 14, 15, 28], "choice"] = None
    frame.loc[[0, 9, 20], "pupil"] = None
    return frame


def full_design(labels):
    choice = "choice"
    one = "right" if labels else 1.0
    return Design(
        Intercept(),
        Standardised("stim"),
        Factor("block"),
        Factor("level", reference=0.5),
        Interaction("stim", Factor("block"), PreviousChoice(choice)),
        Spline(StepInSession(), num_bases=4),
        Spline("stim", num_bases=2, degree=1, full=True, name="bent"),
        Imputed("pupil"),
        Missing("pupil"),
        Lags("stim", 3, name="cue"),
        Standardised(Lags(Signed(choice), 2, first_lag=1, name="turns")),
        Lags(Indicator(choice, one), 1, first_lag=2, name="rights"),
        RaisedCosine("stim", 3, 8, name="bumps"),
        BSpline(Signed(choice), 4, 6, first_lag=1, name="splines"),
        ExponentialHistory(Signed(choice), [1.0, 4.0], name="kernel"),
        PreviousChoice(choice),
        WinStayLoseSwitch(choice, reward="reward"),
        WinStayLoseSwitch(choice, answer="answer", name="by_answer"),
        Running(),
    )


@pytest.mark.parametrize("labels", [True, False])
def test_columns_are_made_anew_from_raw_columns_and_behaviour(labels):
    frame = trials(labels)
    data = full_design(labels).sequences(
        frame,
        session="day",
        emissions="choice",
        transition_design=Design(
            Intercept(), PreviousChoice("choice", name="last"), Lags("stim", 2)
        ),
        initial_covariates=Design(Intercept(), "stim"),
    )
    fit = any_fit(data, gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM())
    rows = frame.drop(columns="day").to_dict("records")
    assert_same(fit, data, rows=rows, online=fit.online(data))


def at_some_values(model, data):
    """A fit at values that nothing was fitted to."""
    program = Program.of(model, data)
    vector = torch.arange(program.coordinates.size) / 10
    return fit_at(model, data, program.users_values(vector.double()), "given")


def test_numbers_are_one_row_and_arrays_of_two_axes_are_several():
    data = random_data()
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
    values = np.asarray(data.covariates[:3])
    made = gh.Sequences([0, 1, 1], values)
    online = at_some_values(model, made).online()
    one = online.predict(values[0].tolist())
    assert one.states.shape == (2,)
    torch_row = torch.as_tensor(values[0])
    for row in (list(torch_row), [np.array(v) for v in values[0]], torch_row):
        np.testing.assert_array_equal(online.predict(row).states, one.states)
    several = online.predict(values.tolist())
    assert several.states.shape == (3, 2)
    for rows in (values, torch.as_tensor(values), list(values), tuple(values)):
        np.testing.assert_array_equal(online.predict(rows).states, several.states)


def test_rows_of_data_frames_are_read_by_name():
    """As mappings are: a frame of steps, a frame of one, and a row of a frame."""
    raw = pd.DataFrame({"stim": [0.5, -1.0, 2.0, 0.3], "choice": ["l", "r", "l", "r"]})
    design = Design("stim", PreviousChoice("choice"), Intercept())
    data = design.sequences(raw, session=None, emissions="choice")
    fit = at_some_values(gh.GLMHMM(2, gh.Bernoulli()), data)
    turned = raw[["choice", "stim"]]
    named, framed, series = (fit.online(data) for _ in range(3))
    for step, row in enumerate(raw.to_dict("records")):
        known = named.update(row, row["choice"])
        one = turned.iloc[[step]]
        np.testing.assert_array_equal(framed.update(one, row["choice"]), known)
        found = series.update(turned.iloc[step], row["choice"])
        np.testing.assert_array_equal(found, known)
    ahead = named.predict(raw.to_dict("records"))
    found = framed.predict(turned)
    np.testing.assert_array_equal(found.states, ahead.states)
    np.testing.assert_array_equal(found.emissions, ahead.emissions)
    assert framed.predict(turned.iloc[:1]).states.shape == (1, 2)
    assert framed.predict(turned.iloc[0]).states.shape == (2,)
    made = gh.Sequences([0, 1, 1], [[1.0, 2.0]] * 3)
    plain = at_some_values(gh.GLMHMM(2, gh.Bernoulli()), made)
    both = pd.DataFrame({"x1": [2.0], "x0": [1.0]})
    known = plain.online().predict([1.0, 2.0]).emissions
    np.testing.assert_array_equal(plain.online().predict(both).emissions[0], known)

"""Agreement with other engines and the truth: numbers made by nobody here."""

import numpy as np
import pandas as pd
import pytest
import torch
from families import hidden_markov, normals
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import LeakageWarning

ONCE = {"num_restarts": 1, "progress": False}


def best_fit(model, data, num_restarts=2, **options):
    """The best of several quick starts, taken to the end."""
    rough = gh.fit(
        model, data, num_restarts=num_restarts, progress=False, tol=1e-6, **options
    )
    return gh.fit(model, data, init=rough.params, tol=3e-11, **ONCE)


def in_order(fit, keys):
    """States in the order of the values of ``keys`` of them."""
    order = np.argsort(keys.numpy())
    return {
        "weights": fit.params["emissions.weights"][order],
        "probs": fit.params["transitions.probs"][order][:, order],
        "initial": fit.params["initial.probs"][order],
    }


@pytest.fixture(scope="module")
def rat():
    return gh.datasets.load_rat()


@pytest.fixture(scope="module")
def rat_fit(rat):
    return best_fit(gh.GLMHMM(2, gh.Bernoulli()), rat, num_restarts=1)


@pytest.fixture(scope="module")
def mouse(shared):
    df = pd.read_csv(shared / "data" / "ibl_CSHL_008.csv")
    # Of a session's first trial the published column has that trial's own choice.
    with pytest.warns(LeakageWarning, match="prev_choice"):
        return gh.Sequences.from_dataframe(
            df,
            session="session",
            emissions="choice",
            covariates=["stim_z", "prev_choice", "wsls"],
            intercept=True,
        )


@pytest.fixture(scope="module")
def mouse_fit(mouse):
    return best_fit(gh.GLMHMM(3, gh.Bernoulli()), mouse)


def test_one_state_fits_the_rat_as_a_logistic_regression_does(rat):
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), rat, tol=1e-12, **ONCE)
    assert fit.log_likelihood == pytest.approx(-12595.05420026, abs=1e-6)


def test_two_states_fit_the_rat_as_an_independent_engine_does(rat_fit):
    # The reference: an independent float64 implementation, 6 of 8 starts.
    assert rat_fit.log_likelihood == pytest.approx(-12312.94602431, abs=1e-4)
    found = in_order(rat_fit, -rat_fit.params["initial.probs"])
    weights = [
        [0.94039, -1.09712, 0.19728, -0.03756, -0.00403, -0.25462],
        [0.74396, -1.20415, 0.27487, 0.3101, 0.27214, 0.53921],
    ]
    np.testing.assert_allclose(found["weights"], weights, atol=2e-3)
    np.testing.assert_allclose(found["initial"], [0.71347, 0.28653], atol=2e-3)
    moves = found["probs"].log()
    leaving = [moves[0, 1] - moves[0, 0], moves[1, 0] - moves[1, 1]]
    np.testing.assert_allclose(leaving, [-4.95458, -6.30011], atol=5e-3)


def test_driven_transitions_fit_the_rat_as_an_independent_engine_does(rat):
    # 2 of 8 starts of the reference engine; the others stop at -12312.774.
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
    fit = best_fit(model, rat, init_noise=1.0)
    assert fit.log_likelihood == pytest.approx(-12282.25672053, abs=1e-4)


def test_two_states_fit_the_mouse_as_an_independent_engine_does(mouse):
    # 12 of 20 starts of the reference engine end there.
    fit = best_fit(gh.GLMHMM(2, gh.Bernoulli()), mouse, num_restarts=3)
    assert fit.log_likelihood == pytest.approx(-2110.15114566, abs=1e-4)


def test_three_states_fit_the_mouse_as_an_independent_engine_does(mouse_fit):
    assert mouse_fit.log_likelihood == pytest.approx(-1964.34458813, abs=1e-4)
    found = in_order(mouse_fit, -mouse_fit.params["emissions.weights"][:, 3].abs())
    weights = [
        [1.541469, -0.309640, 0.301566, -2.734356],
        [1.585256, 0.481438, 0.301735, 2.109871],
        [6.481247, 0.137117, 0.089903, -0.038834],
    ]
    np.testing.assert_allclose(found["weights"], weights, atol=1e-3)
    stays = found["probs"].diagonal()
    np.testing.assert_allclose(stays, [0.951296, 0.954933, 0.981076], atol=1e-4)


def test_priors_fit_the_mouse_as_an_independent_engine_does(mouse, mouse_fit):
    normal, rows = Normal(0.0, 2.0), Dirichlet(torch.full((3,), 2.0))
    model = gh.GLMHMM(3, gh.Bernoulli(prior=normal), gh.Stationary(prior=rows))
    fit = gh.fit(model, mouse, init=mouse_fit.params, tol=1e-12, **ONCE)
    # The reference leaves out the constants of both densities.
    constants = 12 * normal.log_prob(torch.tensor(0.0)) + 3 * np.log(120.0)
    joint = fit.log_joint - float(constants)
    assert joint == pytest.approx(-1997.23810308, abs=1e-4)
    assert fit.log_likelihood == pytest.approx(-1964.91696962, abs=1e-3)


@pytest.mark.parametrize(
    "convention, expected",
    [("into", -220.4365835598), ("source", -221.641740832995)],
)
def test_fixed_parameters_give_the_likelihood_of_depmixs4(shared, convention, expected):
    # Row t of depmixS4 drives the step from t to t + 1, ours the one into t.
    df = pd.read_csv(shared / "data" / "speed.csv")
    scaled = (df["Pacc"] - 0.36467177469455375) / 0.23341403882609593
    if convention == "source":
        scaled = scaled.groupby(df["series"]).shift(fill_value=0.0)
    ones = np.ones(len(df))
    data = gh.Sequences(
        df["corr"].astype(int),
        np.stack([ones, df["Pacc"]], -1),
        transition_covariates=np.stack([ones, scaled], -1),
        lengths=df.groupby("series").size(),
        initial_covariates=np.ones((3, 1)),
    )
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven(), gh.InitialGLM())
    # depmixS4 takes state 1 as reference of every row, we take staying.
    into_2 = torch.tensor([[-1.5, 1.25], [2.5, 2.0]], dtype=torch.float64)
    params = {
        "initial.weights": torch.tensor([[0.5]], dtype=torch.float64),
        "transitions.weights": torch.stack([into_2[:1], -into_2[1:]]),
        "emissions.weights": torch.tensor(
            [[0.1, -0.5], [1.2, 2.0]], dtype=torch.double
        ),
    }
    value = hidden_markov(model, data, params).log_prob(data.emissions)
    assert value.item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_one_state_is_scikit_learns_multinomial_regression(num_classes):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    scores = x @ rng.normal(size=(3, num_classes)) + rng.gumbel(size=(600, num_classes))
    y = scores.argmax(1)
    mask = rng.random(600) < 0.8
    design = np.column_stack([x, np.ones(600)])
    data = gh.Sequences(y, design, lengths=[200, 1, 399], mask=mask)
    fit = gh.fit(gh.GLMHMM(1, gh.Categorical(num_classes)), data, tol=1e-14, **ONCE)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000)
    theirs.fit(x[mask], y[mask])
    expected = np.log(theirs.predict_proba(x[mask]))[range(mask.sum()), y[mask]].sum()
    assert fit.log_likelihood == pytest.approx(expected, abs=1e-6)
    weights = np.column_stack([theirs.coef_, theirs.intercept_])
    weights = (
        weights - weights[0] if num_classes > 2 else np.vstack([0 * weights, weights])
    )
    np.testing.assert_allclose(
        fit.parameters["emissions.weights"][0], weights, atol=1e-4
    )
    np.testing.assert_allclose(fit.predict(data), theirs.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("driven", [False, True], ids=["stationary", "input-driven"])
def test_constant_covariates_are_the_plain_hmm_of_hmmlearn(driven):
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    rng = np.random.default_rng(1)
    start = rng.dirichlet(5 * np.ones(3))
    moves = rng.dirichlet(np.ones(3), size=3) / 2 + np.eye(3) / 2
    emits = rng.dirichlet(np.ones(4), size=3)
    y, lengths = rng.integers(4, size=300), [120, 1, 179]
    theirs = hmmlearn.CategoricalHMM(
        3, n_iter=25, tol=-np.inf, init_params="", implementation="log"
    )
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = start, moves, emits
    theirs.fit(y[:, None], lengths)
    transitions = gh.InputDriven() if driven else gh.Stationary()
    model = gh.GLMHMM(3, gh.Categorical(4), transitions)
    off = ~np.eye(3, dtype=bool)
    odds = np.log(moves / moves.diagonal()[:, None])[off].reshape(3, 2, 1)
    init = {
        "initial.probs": start,
        "emissions.weights": np.log(emits[:, 1:] / emits[:, :1])[..., None],
        **({"transitions.weights": odds} if driven else {"transitions.probs": moves}),
    }
    exact = LBFGSOptions(max_iters=500, gradient_tol=1e-12, progress_tol=1e-18)
    engine = gh.EM(num_iters=25, tol=0.0, accelerate=False, m_step=exact)
    data = gh.Sequences(y, lengths=lengths)
    with pytest.warns(gh.ConvergenceWarning, match="not yet converged"):
        fit = gh.fit(model, data, engine, init=init, **ONCE)
    ours = fit.history["log_likelihood"]
    np.testing.assert_allclose(ours[:25], theirs.monitor_.history, rtol=1e-8)
    assert fit.log_likelihood == pytest.approx(
        theirs.score(y[:, None], lengths), rel=1e-8
    )
    states = fit.decode(data)["viterbi_states"]
    np.testing.assert_array_equal(states, theirs.predict(y[:, None], lengths))
    smoothed = theirs.predict_proba(y[:, None], lengths)
    np.testing.assert_allclose(fit.decode(data)["smoothed_probs"], smoothed, atol=1e-5)


def test_known_weights_of_choices_are_recovered():
    truth = gh.datasets.simulate_choices(num_sessions=24, num_steps=500, seed=1)
    model = gh.GLMHMM(3, gh.Bernoulli(), gh.InputDriven())
    fit = gh.fit(model, truth.data, num_restarts=3, tol=1e-6, progress=False)
    weights = fit.parameters["emissions.weights"].values
    expected = truth.parameters["emission_weights"][:, 1].numpy()
    order = [np.argmin(np.abs(weights - row).sum(-1)) for row in expected]
    assert sorted(order) == [0, 1, 2]
    # The engaged state's standard errors are about 0.2, the biased ones' 0.3.
    assert np.abs(weights[order] - expected).max() < 1.2
    # The likelihood ratio of 20 free numbers exceeds 66 in one of 1e6 cases.
    moves = _off_diagonal(truth.parameters["transition_weights"])
    params = {
        "initial.probs": truth.parameters["initial_probs"],
        "transitions.weights": moves,
        "emissions.weights": truth.parameters["emission_weights"][:, 1],
    }
    hidden = hidden_markov(model, truth.data, params)
    reference = hidden.log_prob(truth.data.emissions).item()
    assert 0.0 < 2 * (fit.log_likelihood - reference) < 66.0
    assert np.abs(weights[order] - expected).mean() < 0.4
    agreement = fit.decode(truth.data)["viterbi_states"].values
    assert (np.argsort(order)[agreement] == truth.states.numpy()).mean() > 0.9
    moves = fit.parameters["transitions.weights"].values[np.ix_(order, order)][..., 0]
    odds = truth.parameters["transition_weights"][..., 0].numpy()
    probs, true = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (moves, odds))
    assert np.abs(probs - true).max() < 0.02


def test_known_weights_of_three_classes_and_driven_transitions_are_recovered():
    # The likelihood ratio of 17 free numbers exceeds 60 in one of 1e6 cases; standard
    # errors of these weights are about 0.1, those of the transitions about 0.2.
    steps = 4000
    design = torch.cat([normals(steps, 2, seed=3), torch.ones(steps, 1)], -1).double()
    blank = gh.Sequences([0, 1, 2] + [0] * (steps - 3), design, lengths=[1500, 2500])
    truth = {
        "initial.probs": torch.tensor([0.5, 0.5], dtype=torch.float64),
        "transitions.weights": torch.tensor([[[1.0, 0.0, -3.0]], [[0.0, -1.0, -2.5]]]),
        "emissions.weights": torch.tensor(
            [[[1.5, 0.0, 0.5], [0.0, 1.5, 0.0]], [[-1.5, 1.0, 0.0], [0.0, -1.5, -0.5]]]
        ),
    }
    truth = {name: value.double() for name, value in truth.items()}
    model = gh.GLMHMM(2, gh.Categorical(3), gh.InputDriven())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        emissions = hidden_markov(model, blank, truth).sample()
    data = blank.replace(emissions=emissions)
    fit = gh.fit(model, data, num_restarts=3, tol=1e-8, progress=False)
    reference = hidden_markov(model, data, truth).log_prob(emissions).item()
    assert 0.0 < 2 * (fit.log_likelihood - reference) < 60.0
    order = fit.params["emissions.weights"][:, 0, 0].argsort(descending=True)
    for name, bound in (("emissions.weights", 0.5), ("transitions.weights", 1.0)):
        assert (fit.params[name][order] - truth[name]).abs().max() < bound


def _off_diagonal(weights):
    states = len(weights)
    rows = [weights[i, [j for j in range(states) if j != i]] for i in range(states)]
    return torch.stack(rows)

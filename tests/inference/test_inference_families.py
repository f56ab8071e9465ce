"""What a fit can do works with every family."""

import numpy as np
import pytest
import torch
from inference_cases import clear_data
from torch.distributions import Dirichlet, Gamma, Normal

import glmhmm_pyro as gh

EVEN = Dirichlet(torch.full((2,), 2.0))
SCALE = Gamma(3.0, 3.0)
FAMILIES = {
    "normal": lambda: gh.Gaussian(prior=Normal(0.0, 3.0), scale_prior=SCALE),
    "normals": lambda: gh.Gaussian(
        2, "full", prior=Normal(0.0, 3.0), scale_prior=SCALE
    ),
}
FAMILIES |= {
    "counts": lambda: gh.Poisson(prior=Normal(0.0, 3.0)),
    "overdispersed": lambda: gh.components.NegativeBinomial(
        prior=Normal(0.0, 3.0), dispersion_prior=SCALE
    ),
    "positive": lambda: gh.components.Gamma(
        prior=Normal(0.0, 3.0), concentration_prior=Gamma(2.0, 0.2)
    ),
    "heavy-tailed": lambda: gh.components.StudentT(
        prior=Normal(0.0, 3.0), scale_prior=SCALE, df_prior=Gamma(2.0, 0.2)
    ),
}
SINGLE = {"num_restarts": 2, "progress": False}


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request):
    """A fit with priors on everything, its data, and the name of the family."""
    data = clear_data(request.param, mask=True)
    model = gh.GLMHMM(
        2, FAMILIES[request.param](), gh.Stationary(EVEN), gh.Initial(EVEN)
    )
    return gh.fit(model, data, method="map", **SINGLE), data, request.param


@pytest.mark.filterwarnings("ignore:The iteration is not making good progress")
def test_a_fit_is_decoded_predicted_simulated_and_drawn(fitted):
    fit, data, family = fitted
    assert fit.status is gh.Status.CONVERGED
    assert fit.decode(data).sizes["step"] == data.num_steps
    predicted = fit.predict(data)
    assert (
        predicted.shape == tuple(data.emissions.shape) and np.isfinite(predicted).all()
    )
    simulated, states = fit.simulate(data, seed=1)
    assert simulated.emissions.shape == data.emissions.shape
    fit.model.bind(simulated)
    gh.plotting.weights(fit)
    gh.plotting.timeline(fit, data)


def test_a_fit_has_standard_errors_of_all_numbers(fitted):
    fit, data, _ = fitted
    table = fit.summary(data)
    assert np.isfinite(table["standard_error"]).all()
    assert (table["lower"] < table["upper"]).all()


def test_a_fit_is_saved_and_loaded(fitted, tmp_path):
    fit, data, _ = fitted
    fit.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.score(data) == fit.score(data)
    assert again.summary().equals(fit.summary())


def test_a_fit_is_exported_with_replicates(fitted):
    fit, data, _ = fitted
    groups = fit.to_arviz(data, num_prior_draws=3)
    replicates = groups["posterior_predictive"]["y"]
    assert replicates.shape == (1, 1, *data.emissions.shape)
    assert np.isfinite(groups["prior_predictive"]["y"]).all()


def test_states_renumbered_leave_the_likelihood_as_it_is(fitted):
    fit, data, _ = fitted
    assert fit.permuted([1, 0]).score(data) == pytest.approx(fit.score(data))


def test_em_ends_where_map_ends(fitted):
    fit, data, _ = fitted
    em = gh.fit(fit.model, data, init=fit.params, **(SINGLE | {"num_restarts": 1}))
    assert em.log_joint == pytest.approx(fit.log_joint, abs=1e-4)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_a_posterior_is_drawn(fitted, method):
    fit, data, _ = fitted
    options = {"num_samples": 4}
    if method == "nuts":
        options |= {"num_warmup": 4, "num_chains": 1}
    drawn = gh.fit(
        fit.model,
        data.subset([0]),
        method=method,
        init=fit.params,
        num_restarts=1,
        progress=False,
        **options,
    )
    assert all(torch.isfinite(draws).all() for draws in drawn.draws.values())

"""Saved fits: the same numbers again, other files refused, nothing executed."""

import numpy as np
import pytest
import torch
import xarray as xr
from families import Poisson
from inference_cases import clear_data, penalised
from pyro.distributions import InverseGamma, LogNormal
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro import priors
from glmhmm_pyro.inference.fits.files import read_record, write_record
from glmhmm_pyro.sequences import MatchingWarning

QUICK = {"num_restarts": 2, "progress": False, "tol": 1e-5}
STICKY = Dirichlet(torch.eye(2) * 3 + 1)


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", lengths=(40, 1, 39), mask=True)


@pytest.fixture(scope="module")
def fitted(data):
    model = penalised("categorical")
    return gh.fit(model, data, keep_weights=True, **QUICK)


def change_facts(path, change):
    """Rewrite the JSON description inside a saved fit, with a checksum that agrees."""
    arrays, facts, _ = read_record(path)
    change(facts)
    write_record(path, arrays, facts)


def change_attributes(path, **attributes):
    """Rewrite attributes of a saved fit by another program."""
    dataset = xr.load_dataset(path, engine="h5netcdf")
    dataset.attrs.update(attributes)
    dataset.to_netcdf(path, engine="h5netcdf")


def test_a_loaded_fit_gives_the_same_numbers(tmp_path, data, fitted):
    path = tmp_path / "fit.nc"
    fitted.save(path)
    loaded = gh.load(path)
    assert loaded.params.keys() == fitted.params.keys()
    assert all(torch.equal(loaded.params[n], fitted.params[n]) for n in fitted.params)
    for name in ("log_likelihood", "log_joint", "status", "best", "method", "labels"):
        assert getattr(loaded, name) == getattr(fitted, name)
    assert loaded.history.equals(fitted.history)
    assert loaded.restart_report().equals(fitted.restart_report())
    assert loaded.summary().equals(fitted.summary())
    assert loaded.decode(data).equals(fitted.decode(data))
    assert loaded.predict(data).identical(fitted.predict(data))
    assert loaded.score(data) == fitted.score(data)
    assert len(loaded.weights) == len(fitted.weights) > 1
    for ours, theirs in zip(loaded.weights, fitted.weights):
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs)


@pytest.mark.parametrize(
    "parts",
    [
        (gh.Bernoulli(), gh.Stationary(prior=STICKY)),
        (gh.Bernoulli(prior=Normal(0.0, 2.0)), gh.SharedInputDriven()),
        (gh.Categorical(3), gh.InputDriven(), gh.Initial(per_session=True)),
        (gh.Bernoulli(), gh.Stationary(), gh.InitialGLM(prior=Normal(0.0, 1.0))),
    ],
)
def test_every_component_comes_back_with_its_priors(tmp_path, parts):
    data = clear_data(lengths=(30, 31))
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(gh.GLMHMM(2, *parts), data, num_iters=2, **(QUICK | {"tol": 0.0}))
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    for name, component in fit.model.components.items():
        again = loaded.model.components[name]
        assert type(again) is type(component)
        assert (again.num_states, again.num_features) == (
            component.num_states,
            component.num_features,
        )
    assert loaded.score(data) == pytest.approx(fit.score(data), rel=1e-14)
    refit = gh.EM(num_iters=1).run(loaded.model, data, [loaded.params])[0]
    assert refit.log_joints[0] == pytest.approx(fit.log_joint, rel=1e-12)


RECIPES = {
    "lags": priors.RandomWalk(0.5, 2.0),
    "process": priors.GaussianProcess(1.0, 2.0),
    "numbers": priors.Grouped([(slice(None, 1), priors.Lasso(1.0))], Normal(0.0, 2.0)),
    "names": priors.Grouped({"x0": priors.StudentT(4.0, 1.0)}, rest=priors.Ridge(2.0)),
    "hierarchy": priors.Hierarchical(
        InverseGamma(2.0, 1.0), base=priors.Ridge(0.5), per=("state",)
    ),
    "groups of them": priors.Grouped(
        {(1,): priors.Hierarchical(LogNormal(0.0, 0.5))}, rest=priors.Ridge(1.0)
    ),
}


@pytest.mark.parametrize("prior", RECIPES.values(), ids=RECIPES)
def test_recipes_come_back_without_the_model(tmp_path, prior):
    data = clear_data(lengths=(30, 31))
    moves = gh.Stationary(priors.Sticky(5.0, 2.0))
    model = gh.GLMHMM(2, gh.Bernoulli(prior), moves)
    fit = gh.fit(model, data, **(QUICK | {"tol": 1e-2}))
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    assert loaded.model.transitions.prior == moves.prior
    assert repr(loaded.model.emissions.prior) == repr(prior)
    # The names of the covariates are those of the data that were fitted.
    renamed = data.replace(covariates=data.covariates, covariate_names=("a", "b"))
    with pytest.warns(MatchingWarning, match="by place.* a as x0, b as x1"):
        again = gh.EM(num_iters=1).run(loaded.model, renamed, [loaded.params])[0]
    assert again.log_joints[0] == pytest.approx(fit.log_joint, rel=1e-12)


def test_a_prior_of_the_users_inside_a_recipe_needs_the_model(tmp_path):
    data = clear_data(lengths=(30, 31))
    prior = priors.Grouped({0: lambda shape: Normal(0.0, 1.0).expand(shape)})
    fit = gh.fit(gh.GLMHMM(2, gh.Bernoulli(prior)), data, **(QUICK | {"tol": 1e-2}))
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(ValueError, match="model must be given"):
        gh.load(tmp_path / "fit.nc")


@pytest.mark.parametrize(
    "change, name",
    [
        ({"recipe": "prior_from_lambda"}, "prior_from_lambda"),
        ({"recipe": "Flat"}, "Flat"),
        ({"fields": {"__class__": 1.0}}, "__class__"),
    ],
)
def test_a_recipe_that_a_tampered_file_names_is_never_looked_up(tmp_path, change, name):
    data = clear_data(lengths=(30, 31))
    model = gh.GLMHMM(2, gh.Bernoulli(priors.Ridge(2.0)))
    fit = gh.fit(model, data, **(QUICK | {"tol": 1e-2}))
    path = tmp_path / "fit.nc"
    fit.save(path)

    def tamper(facts):
        arguments = facts["model"]["components"]["emissions"]["arguments"]
        arguments["prior"].update(change)

    change_facts(path, tamper)
    with pytest.raises(ValueError, match=f"asks for '{name}'"):
        gh.load(path)


def test_a_family_of_the_users_needs_the_model(tmp_path):
    data = clear_data("poisson", lengths=(40,))
    model = gh.GLMHMM(2, Poisson())
    fit = gh.fit(model, data, **QUICK)
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(ValueError, match="model must be given.*emissions.*Poisson"):
        gh.load(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc", model=model)
    assert loaded.score(data) == fit.score(data)
    with pytest.raises(ValueError, match="model must have 2 states.*got 3"):
        gh.load(tmp_path / "fit.nc", model=gh.GLMHMM(3, Poisson()))


def test_a_prior_of_the_users_needs_the_model(tmp_path, data):
    class Normal(torch.distributions.Normal):
        def log_prob(self, value):
            return 2.0 * super().log_prob(value)

    for prior in (
        Normal(0.0, 2.0),
        lambda shape: torch.distributions.Normal(0.0, 2.0).expand(shape),
    ):
        model = gh.GLMHMM(2, gh.Categorical(3, prior=prior))
        fit = gh.fit(model, data, **QUICK)
        fit.save(tmp_path / "fit.nc")
        with pytest.raises(ValueError, match="model must be given"):
            gh.load(tmp_path / "fit.nc")
        assert gh.load(tmp_path / "fit.nc", model=model).log_joint == fit.log_joint


def test_another_netcdf_file_is_refused(tmp_path):
    path = tmp_path / "other.nc"
    xr.Dataset({"a": ("x", np.zeros(3))}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(
        ValueError, match="fit.save wrote.*other.nc, which is another kind.*open"
    ):
        gh.load(path)


def test_a_file_that_is_none_or_damaged_is_refused(tmp_path, fitted):
    path = tmp_path / "fit.nc"
    with pytest.raises(FileNotFoundError, match="must name.*fit.nc, but there is no"):
        gh.load(path)
    with pytest.raises(IsADirectoryError, match="must name.*which is a folder"):
        gh.load(tmp_path)
    fitted.save(path)
    for content, what in (
        (b"", "which is empty"),
        (b"no fit", "which is no netCDF 4 file .it begins with b'no fit'"),
        (path.read_bytes()[:-1000], "not intact, but cut short.*load another copy"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"that fit.save wrote, got .*{what}"):
            gh.load(path)


def test_a_file_of_the_future_is_refused(tmp_path, fitted):
    path = tmp_path / "fit.nc"
    fitted.save(path)
    change_attributes(path, format_version=99)
    with pytest.raises(ValueError, match="has format 99 where.*reads up to 2; install"):
        gh.load(path)


@pytest.mark.parametrize("name", ["os.system", "Sequences", "__builtins__", "eval"])
def test_a_class_that_a_tampered_file_names_is_never_looked_up(tmp_path, fitted, name):
    path = tmp_path / "fit.nc"
    fitted.save(path)

    def tamper(facts):
        facts["model"]["components"]["emissions"]["class"] = name

    change_facts(path, tamper)
    with pytest.raises(ValueError, match=f"not intact.*it asks for '{name}'"):
        gh.load(path)


def test_a_prior_that_a_tampered_file_names_is_never_looked_up(tmp_path, fitted):
    path = tmp_path / "fit.nc"
    fitted.save(path)

    def tamper(facts):
        arguments = facts["model"]["components"]["emissions"]["arguments"]
        arguments["prior"]["prior"] = "Delta"

    change_facts(path, tamper)
    with pytest.raises(ValueError, match="asks for 'Delta'"):
        gh.load(path)


def test_a_tampered_file_sets_no_attributes_but_sizes(tmp_path, fitted):
    path = tmp_path / "fit.nc"
    fitted.save(path)

    def tamper(facts):
        facts["model"]["components"]["emissions"]["bound"]["forward"] = 3

    change_facts(path, tamper)
    assert callable(gh.load(path).model.emissions.forward)

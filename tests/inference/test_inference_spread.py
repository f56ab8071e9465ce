"""Fits over the ranks of a process group, held against those of one process."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import spread_cases
import torch
from spread_cases import CASES

import glmhmm_pyro as gh
from glmhmm_pyro.designs import Dense, Spread
from glmhmm_pyro.ranks import ALONE

SCRIPT = Path(spread_cases.__file__)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two processes have found of all cases, and the first of the other's end."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=500)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    files = [folder / f"rank {rank}" for rank in range(2)]
    assert all(file.exists() for file in files), "\n".join(said)
    found = [torch.load(file, weights_only=False) for file in files]
    return found, torch.load(folder / "left alone")


@pytest.fixture(scope="module")
def alone():
    """The same in this process, of all sessions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        return {name: spread_cases.found(case) for name, case in CASES.items()}


every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_all_ranks_end_with_the_same(ranks, name):
    first, second = (found[name] for found in ranks[0])
    for site, value in first["params"].items():
        assert torch.equal(value, second["params"][site])
    assert (first["log_joints"] == second["log_joints"]).all()
    for what in ("status", "said", "observed", "starts"):
        assert first[what] == second[what]


@every_case
def test_a_fit_over_two_ranks_is_that_of_one_process(ranks, alone, name):
    first, whole = ranks[0][0][name], alone[name]
    for what in ("params", "baseline", "errors", "draws", "bounds"):
        assert first[what].keys() == whole[what].keys()
        for site, value in whole[what].items():
            torch.testing.assert_close(
                first[what][site], value, rtol=1e-6, atol=1e-7, equal_nan=True
            )
    for what in ("status", "said", "starts"):
        assert first[what] == whole[what]
    assert first["observed"] == pytest.approx(whole["observed"], rel=1e-10)


# Of repeated rows each rank puts its own together; the search of an approximation goes
# on until rounding ends it.
OTHER_WAYS = ("repeated", "approximated")


@pytest.mark.parametrize("name", [name for name in CASES if name not in OTHER_WAYS])
def test_it_takes_the_same_way(ranks, alone, name):
    first, whole = ranks[0][0][name], alone[name]
    for what in ("log_likelihoods", "log_joints"):
        assert first[what] == pytest.approx(whole[what], rel=1e-9)


def test_sums_over_ranks_have_all_derivatives(ranks):
    for found in ranks[0]:
        for own, whole in zip(
            found["derivatives"], spread_cases.whole_derivatives(), strict=True
        ):
            torch.testing.assert_close(own, whole)


def test_an_error_on_one_rank_is_raised_on_all(ranks):
    first, second = (found["wrong_label"] for found in ranks[0])
    assert first.startswith("RankError: rank 1 raised ValueError: emissions must be")
    assert second.startswith("ValueError: emissions must be")


@pytest.mark.parametrize(
    "name, said",
    [
        ("same_sessions", "every rank must hold sessions of its own, got session '5'"),
        ("other_models", "model and options must be the same on all ranks"),
        ("groups_apart", "every rank must hold whole groups of sessions where slow"),
        ("other_columns", "covariate_names must be the same on all ranks"),
    ],
)
def test_what_must_be_alike_is_refused_on_all_ranks(ranks, name, said):
    for found in ranks[0]:
        assert found[name].startswith(f"ValueError: {said}")


def test_a_rank_that_is_left_alone_does_not_wait_for_ever(ranks):
    assert ranks[1].startswith("RankError: a rank of the process group does not answer")


def test_a_rank_without_rows_leaves_the_extent_to_the_others():
    low, high = Spread(Dense(torch.zeros(0, 2)), ALONE).extent()
    assert low.tolist() == [torch.inf] * 2 and high.tolist() == [-torch.inf] * 2


def own_closed_form():
    class Own(gh.Bernoulli):
        def closed_form(self, counts, data, params):
            return None

    return gh.GLMHMM(2, Own())


def by_session():
    return gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True))


def latent():
    return gh.GLMHMM(2, gh.components.Varying(gh.Bernoulli(), over="session"))


@pytest.fixture
def single(tmp_path):
    """A process group of this process alone."""
    met = f"file://{tmp_path}/met"
    torch.distributed.init_process_group("gloo", init_method=met, rank=0, world_size=1)
    yield "world"
    torch.distributed.destroy_process_group()


CHOICES = gh.GLMHMM(2, gh.Bernoulli())
EVERY_SESSION = "svi with all sessions at a step and a guide by name"


@pytest.mark.parametrize(
    "model, options, said",
    [
        (CHOICES, {"method": "nuts"}, "method must be em, map, laplace, or svi"),
        (CHOICES, {"method": gh.SVI(subsample_sessions=2)}, EVERY_SESSION),
        (CHOICES, {"method": gh.SVI(guide=lambda data: None)}, EVERY_SESSION),
        (CHOICES, {"checkpoint": "fit.nc"}, "checkpoint must be None"),
        (CHOICES, {"init": "kmeans"}, "init must not be 'kmeans'"),
        (lambda data: None, {}, "process_group must be None for what is no GLMHMM"),
        (own_closed_form(), {}, r"whose closed_form\(...\) is of the user's own"),
        (by_session(), {}, "process_group must be None for parameters that belong to"),
        (latent(), {}, "process_group must be None for parameters that belong to"),
    ],
)
def test_what_does_not_add_up_over_ranks_is_refused(single, model, options, said):
    _, data, _, _ = spread_cases.with_priors()
    with pytest.raises(ValueError, match=said):
        gh.fit(model, data, progress=False, process_group=single, **options)


def test_robust_errors_over_ranks_are_refused(single):
    _, data, _, _ = spread_cases.with_priors()
    fit = gh.fit(CHOICES, data, num_restarts=1, progress=False)
    with pytest.raises(ValueError, match="robust must be None over a process_group"):
        fit.standard_errors(data, robust="session", process_group=single)


@pytest.mark.parametrize("group", ["world", "word", 2])
def test_a_group_that_is_none_is_refused(group):
    _, data, _, _ = spread_cases.with_priors()
    with pytest.raises(ValueError, match="process_group must be 'world', or a process"):
        gh.fit(gh.GLMHMM(2, gh.Bernoulli()), data, process_group=group)


def test_a_family_of_a_users_own_is_fitted_over_ranks(single):
    class Own(gh.GLMEmission):
        def distribution(self, predictor):
            return torch.distributions.Bernoulli(logits=predictor)

    _, data, _, _ = spread_cases.with_priors()
    model = gh.GLMHMM(2, Own(prior=spread_cases.RIDGE))
    options = {"num_restarts": 1, "progress": False}
    whole, found = (
        gh.fit(model, data, **options, **more)
        for more in ({}, {"process_group": single})
    )
    for name, value in whole.params.items():
        torch.testing.assert_close(found.params[name], value)

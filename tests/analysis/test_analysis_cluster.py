"""Fits of a grid go to a dask cluster by joblib's own configuration."""

import joblib
import numpy as np
import pandas as pd
import pytest

import glmhmm_pyro as gh


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_chooses_the_number_of_states():
    distributed = pytest.importorskip("distributed")
    rng = np.random.default_rng(0)
    data = gh.Sequences(
        rng.integers(2, size=120), rng.normal(size=(120, 1)), lengths=[30] * 4
    )

    def choose(**told):
        return gh.analysis.choose_num_states(
            lambda states: gh.GLMHMM(states, gh.Bernoulli()),
            data,
            [1, 2],
            folds=2,
            num_restarts=1,
            seed=0,
            progress=False,
            **told,
        )

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        found = choose(num_jobs=2)
        calls = client.run_on_scheduler(_calls)
    assert calls > 0
    pd.testing.assert_frame_equal(found.table, choose().table)


def _calls(dask_scheduler):
    """How many calls the cluster has finished."""
    return sum(
        prefix.state_counts["memory"]
        for prefix in dask_scheduler.task_prefixes.values()
    )

"""What tests ask of ArviZ, in the words of the interface that is installed."""

import matplotlib.pyplot as plt
import numpy as np

from glmhmm_pyro.inference.draws.arviz_versions import load_arviz

az = load_arviz()
IS_TREE = int(az.__version__.partition(".")[0]) >= 1


def groups_of(exported):
    """Names of the groups, in their order."""
    return list(exported.children) if IS_TREE else exported.groups()


def group_of(exported, name):
    """One group as a data set of xarray."""
    return exported[name].to_dataset() if IS_TREE else exported[name]


def num_traces(exported, **chosen):
    """Number of variables, or from 1.0 on of their numbers, whose traces are drawn."""
    drawn = az.plot_trace(exported, **chosen)
    if not IS_TREE:
        return len(drawn)
    return sum(bool(axes.lines) for axes in plt.gcf().axes)


def forest_labels(exported, **chosen):
    """Texts beside the rows of a forest plot."""
    drawn = az.plot_forest(exported, combined=True, **chosen)
    if not IS_TREE:
        return [text.get_text() for text in drawn[0].get_yticklabels()]
    return [text.get_text() for axes in plt.gcf().axes for text in axes.texts]


def check_pictures(exported, variable):
    """Axes with lines of the pictures that check a fit, by their names."""
    calls = {
        "energy": lambda: az.plot_energy(exported),
        "leave-one-out": lambda: (
            az.plot_loo_pit(exported)
            if IS_TREE
            else az.plot_loo_pit(exported, y=variable)
        ),
        "predictive": lambda: (
            az.plot_ppc_dist(exported) if IS_TREE else az.plot_ppc(exported)
        ),
    }
    drawn = {}
    for name, call in calls.items():
        call()
        axes = plt.gcf().axes
        drawn[name] = sum(bool(ax.lines or ax.collections) for ax in axes)
        plt.close("all")
    return drawn


def pointwise(loo):
    """Terms of a leave-one-out estimate."""
    return np.asarray(loo.elpd_i if IS_TREE else loo.loo_i)


def pareto_shape(log_weights):
    """Shape of the Pareto tail of importance weights."""
    if not IS_TREE:
        return float(az.psislw(log_weights)[1])
    from arviz_stats.base import array_stats

    # Its argument are log-likelihoods, whose weights are their inverses.
    return float(array_stats.psislw(-log_weights)[1])

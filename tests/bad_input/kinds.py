"""Arguments of a wrong kind: what holds no values, no names, no function."""

import numpy as np
import pandas as pd
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import simulation_based_calibration

from .results import MODEL, WHOLE, data, fit, fitted, number_rows, type_row, validated
from .row import Row

META = torch.ones(2, device="meta")


def across_sessions(initial=None):
    """A model of slow states that move from session to session alone."""
    moves = gh.TwoLevels(clock="session")
    return gh.GLMHMM(gh.Levels(2, 2), gh.Bernoulli(), moves, initial)


def in_groups(*groups):
    """A session of two steps for each group named."""
    return gh.Sequences([0, 1] * len(groups), lengths=[2] * len(groups), groups=groups)


def hidden(
    emissions=torch.distributions.Bernoulli(torch.full((3, 1), 0.5)), lengths=None
):
    """A chain of one state over three steps."""
    lengths = torch.tensor([3]) if lengths is None else lengths
    logits = torch.zeros(1, 1), torch.zeros(1, 1, 1)
    return gh.HiddenMarkov(*logits, emissions, lengths)


class ByGroup(gh.components.Emission):
    """A family with a parameter for every group."""

    def __init__(self):
        super().__init__()
        self.bias = gh.components.Site("group")


def bound_in_turn(*groups):
    """A model bound to data of some groups, and then to data of another."""
    model = gh.GLMHMM(2, ByGroup())
    for group in groups:
        named = {"lengths": [1] * len(group), "groups": group}
        model.bind(gh.Sequences([0] * len(group), **named))


ROWS = {
    "choices of -1 and 1": Row(
        lambda: gh.fit(gh.GLMHMM(1, gh.Bernoulli()), gh.Sequences([-1.0, 1.0, 1.0])),
        *("emissions", "must be labels 0 to 1", "got -1", "give -1 as 0, 1 as 1"),
    ),
    "Gaussian: covariance as an array": type_row(
        lambda: gh.Gaussian(2, np.eye(2)),
        *("covariance", "must be a string", "array(", "give a name in quotes"),
    ),
    "Gaussian: shared_scale as text": Row(
        lambda: gh.Gaussian(shared_scale="no"),
        *("shared_scale", "must be True or False", "'no'", "give one of the two"),
    ),
    "Initial: per_session as a number": Row(
        lambda: gh.Initial(per_session=1),
        *("per_session", "must be True or False", "got 1", "give one of the two"),
    ),
    "Outputs: columns as a list": type_row(
        lambda: gh.Outputs(columns=["a"], a=gh.Bernoulli()),
        *("columns", "must be a Mapping", "got list", "give a dictionary"),
    ),
    "score: marginal as text": Row(
        lambda: fit().score(data(), marginal="yes"),
        *("marginal", "must be True or False", "'yes'", "give one of the two"),
    ),
    "decode: site as a list": type_row(
        lambda: fit().decode(data(), site=["y"]),
        *("site", "must be a string", "['y']", "give a name in quotes"),
    ),
    "weights: parameter as a list": type_row(
        lambda: gh.plotting.weights(fit(), parameter=["emissions.weights"]),
        *("parameter", "must be a string", "['emissions.weights']", "in quotes"),
    ),
    "HiddenMarkov: lists": type_row(
        lambda: gh.HiddenMarkov([[0.0]], [[[0.0]]], None, [3]),
        *("initial_logits", "must be a tensor", "got list", "torch.as_tensor"),
    ),
    "minimize: no function": type_row(
        lambda: gh.optim.minimize(3, torch.zeros(2)),
        *("fun", "must be a function", "got 3", "give a function"),
    ),
    "minfunc_options: a list": type_row(
        lambda: gh.optim.minfunc_options([1]),
        *("options", "must be a Mapping", "got list", "give a dictionary"),
    ),
    "calibration: no model": type_row(
        lambda: simulation_based_calibration(3, data()),
        *("model", "must be a GLMHMM", "got an int", "write GLMHMM("),
    ),
    "fit: too many restarts": Row(
        lambda: fitted(num_restarts=10**30),
        *("num_restarts", "must be below 2**31", "got 1000", "such as 100"),
    ),
    "from_dataframe: a mapping for columns": type_row(
        lambda: gh.Sequences.from_dataframe(
            data().to_dataframe(), session=None, emissions=[{"a": 1}]
        ),
        *("emissions", "must name columns", "got [{'a': 1}]", "give a name"),
    ),
    "from_dataframe: a number for class_names": type_row(
        lambda: gh.Sequences.from_dataframe(
            data().to_dataframe(),
            session=None,
            emissions=data().emission_names[0],
            class_names=2,
        ),
        *("class_names", "must be a list of strings", "got 2", "give a list"),
    ),
    "Sequences: a number for class_names": type_row(
        lambda: gh.Sequences([0, 1], class_names=2),
        *("class_names", "must be a list of strings", "got 2", "give a list"),
    ),
    "Hierarchical: a number for axes": type_row(
        lambda: gh.priors.Hierarchical(torch.distributions.HalfNormal(1.0), per=2),
        *("per of Hierarchical", "names of axes", "got 2", "'covariate'"),
    ),
    "simulate_demo: too many lags": Row(
        lambda: gh.datasets.simulate_demo(num_lags=10**30),
        *("num_lags", "must be below 2**31", "got 1000", "a smaller number"),
    ),
    **{
        f"{name}: a tensor without values": type_row(
            call, argument, "must be a tensor that holds values", "'meta'", "on the CPU"
        )
        for name, argument, call in (
            ("permuted", "order", lambda: fit().permuted(META)),
            ("aligned", "reference", lambda: fit().aligned(META, data())),
            ("validate", "strengths", lambda: validated(META)),
            ("validate, groups", "groups", lambda: validated(groups=META)),
            (
                "ExponentialHistory",
                "half_lives",
                lambda: gh.covariates.ExponentialHistory("x", META),
            ),
        )
    },
    "permuted: rows of different lengths": Row(
        lambda: fit().permuted([[0], [0, 1]]),
        *("order", "must be a list of the numbers", "[[0], [0, 1]]", "write [1, 0]"),
    ),
    "compare_methods: a number": Row(
        lambda: gh.compare_methods(MODEL, data(), 3),
        *("methods", "must be a list of methods", "got 3", "write ['em']"),
    ),
    "compare_methods: a method alone": Row(
        lambda: gh.compare_methods(MODEL, data(), gh.MAP()),
        *("methods", "must be a list of methods", "got MAP(", "write [MAP("),
    ),
    "compare_methods: no method": Row(
        lambda: gh.compare_methods(MODEL, data(), []),
        *("methods", "must be a list of methods, at least one", "[]", "write ['em']"),
    ),
    "compare_methods: a number among methods": Row(
        lambda: gh.compare_methods(MODEL, data(), ["em", 3]),
        *("methods", "must be one of em", "got 3", "give one of these"),
    ),
    "compare_methods: words for data held out": type_row(
        lambda: gh.compare_methods(MODEL, data(), ["em"], held_out="all"),
        *("held_out", "must be a share of the sessions", "'all'", "0.25 for a quarter"),
    ),
    "prior_predictive: no model": type_row(
        lambda: gh.prior_predictive(3, data()),
        *("model", "must be a GLMHMM", "got an int", "write GLMHMM("),
    ),
    "prior_predictive: seed": Row(
        lambda: gh.prior_predictive(MODEL, data(), seed="a"),
        *("seed", WHOLE, "got 'a'", "such as 0"),
    ),
    **number_rows(
        "num_prior_draws",
        lambda **o: fit("laplace").to_arviz(data(), ["prior"], **o),
    ),
    "Columns: an array without axes": Row(
        lambda: gh.covariates.Columns(np.array(2)),
        *("columns", "must be names of columns", "array(2)", "a list of strings"),
    ),
    "HiddenMarkov: no distribution": type_row(
        lambda: hidden(None),
        *("emission_dist", "must be a distribution", "got NoneType", "give such as"),
    ),
    "HiddenMarkov: a number for lengths": Row(
        lambda: hidden(lengths=torch.tensor(3)),
        *("lengths", "must have shape (sessions,)", "got ()", "give a tensor"),
    ),
    "HiddenMarkov: a list of emissions": type_row(
        lambda: hidden().log_prob([0, 1, 1]),
        *("value", "must be a tensor that holds", "got list", "torch.as_tensor"),
    ),
    "HiddenMarkov: too few emissions": Row(
        lambda: hidden().log_prob(torch.zeros(2)),
        *("value", "must have shape (3,)", "got (2,)", "of all steps"),
    ),
    "HiddenMarkov: words for a number of paths": Row(
        lambda: hidden().sample_states(torch.zeros(3), "many"),
        *("num_samples", WHOLE, "got 'many'", "give a number"),
    ),
    "minimize_batched: words": type_row(
        lambda: gh.optim.minimize_batched(lambda x, i: (x.sum(1), x), "start"),
        *("x0", "must be an array of numbers", "got 'start'", "a row for each"),
    ),
    "split: a number": Row(
        lambda: data().split(3),
        *("values", "must have", "got 0 (int)", "give what was made of these data"),
    ),
    "Sequences: rows of names": type_row(
        lambda: gh.Sequences([0, 1], session_names=np.array([["a", "b"]])),
        *("session_names", "must be a list of strings", "array([[", "one name each"),
    ),
    "Sequences: an array of output names for one": Row(
        lambda: gh.Sequences([0, 1], emission_names=np.array(["a", "b"])),
        *("emission_names", "must have 1", "got 2", "give as many names"),
    ),
    "from_dataframe: a name that is none": type_row(
        lambda: gh.Sequences.from_dataframe(
            data().to_dataframe(), session=None, emissions=pd.NA
        ),
        *("emissions", "must name columns", "got <NA>", "give a name"),
    ),
    "from_dataframe: a mapping for first covariates": type_row(
        lambda: gh.Sequences.from_dataframe(
            data().to_dataframe(),
            session=None,
            emissions=data().emission_names[0],
            initial_covariates={"a": 1},
        ),
        *("initial_covariates", "must name columns", "got ", "give a name"),
    ),
    "subset: rows of numbers": type_row(
        lambda: data().subset(np.array([[0, 1]])),
        *("sessions", "must be selected by number", "array([0, 1])", "give whole"),
    ),
    "Design: a Series": type_row(
        lambda: gh.covariates.Design("x").fit(pd.Series([1.0, 2.0]), session=None),
        *("data", "must be a data frame", "got Series", "give data.to_frame()"),
    ),
    "Sequences: an array without axes for names": type_row(
        lambda: gh.Sequences([0, 1], session_names=np.array("a")),
        *("session_names", "must be a list of strings", "array('a'", "give a list"),
    ),
    "Sequences: a tensor without axes for classes": type_row(
        lambda: gh.Sequences([0, 1], class_names=torch.tensor(2)),
        *("class_names", "must be a list of strings", "tensor(2)", "give a list"),
    ),
    "add_intercept: an array without axes": type_row(
        lambda: data().add_intercept(np.array("covariates")),
        *("designs", "must be a list of names", "array(", "give such as"),
    ),
    "Site: groups that there are none of": Row(
        lambda: gh.GLMHMM(2, ByGroup()).bind(data()),
        *("data", "must have groups, for each of which", "got none", "give groups to"),
    ),
    "Site: a group that was not fitted": Row(
        lambda: bound_in_turn(["rat", "owl"], ["cat"]),
        *(
            "data",
            "must hold groups whose emissions.bias",
            "got cat",
            "use a component",
        ),
    ),
    "Outputs: a family by group": Row(
        lambda: gh.Outputs(a=ByGroup(), b=gh.Bernoulli()),
        *(
            "families",
            "must have the same parameters in all",
            "ByGroup for 'a'",
            "alone",
        ),
    ),
    "TwoLevels: groups whose sessions are apart": Row(
        lambda: across_sessions().bind(in_groups("rat", "owl", "rat")),
        *(
            "data",
            "must have the sessions of a group next to each other",
            "got session '2' of group 'rat' apart",
            "data.subset(groups=list(data.group_names))",
        ),
    ),
    "TwoLevels: a clock of sessions for groups of one": Row(
        lambda: gh.fit(across_sessions(), in_groups("rat", "owl", "cat")),
        *(
            "clock",
            "must not be 'session' for data in which every group has",
            "got 3 of them",
            "take clock='step'",
        ),
    ),
    "Varying: slow states in a row": Row(
        lambda: gh.Varying(gh.Bernoulli(), over="slow"),
        *(
            "law",
            "must be pooled for weights that vary over slow states",
            "got a walk",
            "give law='pooled'",
        ),
    ),
    "Varying: slow states without a law": Row(
        lambda: gh.Varying(gh.Bernoulli(), over="slow", law=None),
        *(
            "law",
            "must be pooled for weights that vary over slow states",
            "got None",
            'take ByLevel(family, over="both")',
        ),
    ),
    "Varying: moves over slow states": Row(
        lambda: gh.Varying(gh.InputDriven(), over="slow", law="pooled"),
        *(
            "over",
            "must be 'group' or 'session' for transitions and first states",
            "got 'slow'",
            "over slow states those of two levels",
        ),
    ),
    "Varying: slow states of one level": Row(
        lambda: gh.GLMHMM(2, gh.Varying(gh.Bernoulli(), "slow", "pooled")).bind(
            gh.Sequences([0, 1, 1])
        ),
        *(
            "num_states",
            "must be Levels for weights that vary over slow states",
            "got 2",
            "write GLMHMM(Levels(slow=2, fast=2), ...)",
        ),
    ),
    "ByLevel: pooled weights by pair": Row(
        lambda: gh.levels.ByLevel(
            gh.Varying(gh.Bernoulli(), "slow", "pooled"), over="both"
        ),
        *(
            "over",
            "must be 'fast' for a family whose weights vary over slow states",
            "got 'both'",
            "leave it out",
        ),
    ),
    "TwoLevels: first states of pairs": Row(
        lambda: across_sessions(gh.Initial()),
        *(
            "initial",
            "must be a TwoLevelsInitial where slow states go on",
            "got Initial",
            "leave it out",
        ),
    ),
    "TwoLevels: fast moves of chain states": Row(
        lambda: gh.TwoLevels(fast=gh.SemiMarkov(gh.dwell.Poisson())),
        *(
            "fast",
            "must be transitions whose parameters are the same in all sessions",
            "got SemiMarkov(",
            "take Stationary() or InputDriven(), or Varying(...) of one",
        ),
    ),
    "TwoLevels: an entry law of transitions": Row(
        lambda: gh.TwoLevels(entry=gh.Stationary()),
        *(
            "entry",
            "must be an Initial or an InitialGLM, the same in all sessions",
            "got a Stationary",
            "write entry=Initial()",
        ),
    ),
    "TwoLevels: an entry law of every session": Row(
        lambda: gh.TwoLevels(entry=gh.Initial(per_session=True)),
        *("entry", "must be an Initial", "got an Initial", "write entry=Initial()"),
    ),
    "TwoLevels: a class in the place of an entry law": Row(
        lambda: gh.TwoLevels(entry=gh.Initial),
        *("entry", "must be an Initial", "got the class Initial", "write entry="),
    ),
    "TwoLevels: a dependence that is no yes or no": Row(
        lambda: gh.TwoLevels(slow_depends_on_fast="yes"),
        *("slow_depends_on_fast", "must be True or False", "got 'yes'", "give one"),
    ),
    "TwoLevels: slow moves of chain states": Row(
        lambda: gh.TwoLevels(
            slow=gh.SemiMarkov(gh.dwell.Poisson()), slow_depends_on_fast=True
        ),
        *("slow", "must be transitions whose", "got SemiMarkov(", "take Stationary()"),
    ),
    "state_colour: none": Row(
        lambda: gh.plotting.state_colour(None),
        *("state", WHOLE, "got None", "give a number such as"),
    ),
    "an offset that is not read": Row(
        lambda: gh.Poisson(offset="time", covariates=["light"]),
        *("covariates", "must name the offset", "got light beside", "add 'time'"),
    ),
    "a set of covariates": Row(
        lambda: gh.Bernoulli(covariates={"light", "bias"}),
        *("covariates", "must be a list of names", "a set", "['bias', 'light']"),
        TypeError,
    ),
}

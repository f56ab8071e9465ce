"""Arguments that a public function lacks, or has not, are named in a sentence."""

import inspect
import re

import pytest

import glmhmm_pyro as gh

ROOMS = (
    gh,
    gh.analysis,
    gh.components,
    gh.covariates,
    gh.datasets,
    gh.importers,
    gh.optim,
    gh.plotting,
    gh.priors,
)
# What users derive classes from, what they are handed, and scikit-learn's face.
OTHERS = {
    *("Component", "Emission", "FilterTerm", "Initial", "InitialState", "PriorRecipe"),
    *("OnlyInitial", "OnlyState", "ScaleFamily", "Term", "Transitions"),
    *("Comparison", "CrossValidation", "EvidenceMaximum", "Imported"),
    *("MinimizeResult", "Simulated", "Status", "Termination", "Trace"),
    *("ConvergenceWarning", "GLMHMMEstimator"),
} - {"Initial"}
METHODS = {
    f"{kind.__name__}.{name}": getattr(kind, name)
    for kind in (gh.Sequences, gh.Fit, gh.covariates.Design, gh.analysis.Bootstrap)
    for name in dir(kind)
    if name[0] != "_" and callable(getattr(kind, name))
}
FUNCTIONS = METHODS | {
    f"{room.__name__}.{name}": getattr(room, name)
    for room in ROOMS
    for name in room.__all__
    if callable(getattr(room, name)) and name not in OTHERS
}


def takes_an_object(name):
    """Whether it's a method taken from its class, which is called with an object."""
    return name in METHODS and inspect.isfunction(METHODS[name])


def parameters_of(name):
    """What a caller gives."""
    found = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    return found[1:] if takes_an_object(name) else found


CLOSED = {
    name: function
    for name, function in FUNCTIONS.items()
    if all(p.kind is not p.VAR_KEYWORD for p in parameters_of(name))
}
NEEDING = {
    name: function
    for name, function in FUNCTIONS.items()
    if any(
        p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        for p in parameters_of(name)
    )
}


DECORATE = "decorate it with suggests_names, a picture with picture; it said: "


def called_as(function, name):
    """The function as a caller has it: a method needs an object."""
    if not takes_an_object(name):
        return function
    return lambda **options: function(None, **options)


@pytest.mark.parametrize("name", CLOSED)
def test_an_argument_that_there_is_not_is_named(name):
    with pytest.raises(TypeError) as caught:
        called_as(CLOSED[name], name)(nonsense=1)
    said = str(caught.value)
    wanted = "must be given arguments of its own, got 'nonsense'; "
    assert wanted in said, DECORATE + said


@pytest.mark.parametrize("name", NEEDING)
def test_an_argument_that_is_missing_is_named(name):
    with pytest.raises(TypeError) as caught:
        called_as(NEEDING[name], name)()
    said = str(caught.value)
    wanted = r"^(\w+)( \(\w+\))? must be given to [\w.]+, got nothing for it; write "
    match = re.match(wanted, said)
    assert match and match[1] in inspect.signature(NEEDING[name]).parameters, (
        DECORATE + said
    )


def test_the_argument_that_was_meant_is_suggested():
    for call, meant in (
        (lambda: gh.EM(max_iter=3), "num_iters"),
        (lambda: gh.GLMHMM(n_states=3), "num_states"),
        (lambda: gh.priors.Ridge(sale=2.0), "scale"),
        (lambda: gh.Sequences([0, 1]).subset(session=0), "sessions"),
    ):
        with pytest.raises(TypeError, match=f"did you mean '{meant}'"):
            call()


def test_arguments_given_twice_or_too_many_are_refused():
    with pytest.raises(TypeError, match="scale must be given once, got it by its pl"):
        gh.priors.Ridge(2.0, scale=1.0)
    with pytest.raises(TypeError, match="Ridge must be given at most 1 .* got 2; "):
        gh.priors.Ridge(2.0, 1.0)


def test_what_was_decorated_shows_its_own_signature():
    assert list(inspect.signature(gh.GLMHMM).parameters)[:2] == [
        *("num_states", "emissions")
    ]
    assert gh.fit.__name__ == "fit" and "Fit a model" in gh.fit.__doc__

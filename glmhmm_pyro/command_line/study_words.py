"""Advice of the package, which is written in Python, as a study file writes it."""

import ast
import inspect
import json
import re

from glmhmm_pyro.command_line.written import KNOWN

# A call of a class with plain arguments that is not an argument itself.
_CALL = re.compile(r"(?<![\w.(=])(?:[a-z]\w*\.)*([A-Z]\w*)\(([^()]*)\)(?!\))")


def in_study_words(sentence: str) -> str:
    """A sentence whose components, priors and terms are written as in a study.

    What a study does not know stays as it is.

    Example:
        >>> print(in_study_words("give a prior, such as gh.priors.Ridge(1.0)"))
        give a prior, such as {Ridge = 1.0}
        >>> print(in_study_words("take covariates.Lags('reward', 1, first_lag=1)"))
        take {Lags = {column = "reward", num_lags = 1, first_lag = 1}}
    """
    return _CALL.sub(_written, sentence)


def _written(found: re.Match[str]) -> str:
    """One call as a value of TOML."""
    said, name = found.group(), found.group(1)
    if name not in KNOWN:
        return said
    try:
        call = ast.parse(said, mode="eval").body
        if not isinstance(call, ast.Call):
            return said
        values = [ast.literal_eval(argument) for argument in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        signature = inspect.signature(KNOWN[name])
        given = signature.bind_partial(*values, **named).arguments
        if "validate_args" in given:
            # Numbers that are a distribution's first argument, one by one.
            return said
        toml = {argument: _value(value) for argument, value in given.items()}
    except (SyntaxError, TypeError, ValueError):
        return said
    if not toml:
        return f'"{name}"'
    if list(toml) == list(signature.parameters)[:1]:
        return f"{{{name} = {next(iter(toml.values()))}}}"
    inside = ", ".join(f"{argument} = {value}" for argument, value in toml.items())
    return f"{{{name} = {{{inside}}}}}"


def _value(value: object) -> str:
    """A number, a string or a list of them.

    Raises:
        TypeError: another kind of value.
        ValueError: a number that is not finite.
    """
    if value is Ellipsis or value is None:
        raise TypeError("a study file has no such value")
    plain = list(value) if isinstance(value, tuple) else value
    return json.dumps(plain, allow_nan=False)

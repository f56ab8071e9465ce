"""check: what can be said of a model and its data before anything is fitted."""

import copy
from collections.abc import Iterator, Mapping

import torch

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components import InputDriven, SharedInputDriven
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.checks.columns import WeightedColumns, column_findings
from glmhmm_pyro.inference.checks.leak_checks import leak_findings, leaks_left_out
from glmhmm_pyro.inference.checks.level_checks import fewer_of, free_levels
from glmhmm_pyro.inference.checks.outcomes import label_findings
from glmhmm_pyro.inference.checks.report import NOTE, UNTOLD, Finding, Report
from glmhmm_pyro.inference.program.program import Data, Model, Program
from glmhmm_pyro.inference.program.refusals import check_is_model
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.answers import is_flat

# How long a state is taken to last before anything is known of it, in steps.
_USUAL_DWELL = 20

_MADE = (
    *("few rows", "zero columns", "constant columns", "units", "collinearity"),
    *("leaks", "unseen classes", "separation", "switches"),
)


@suggests_names
@usual_modes()
def check(model: Model, data: Data) -> Report:
    """Look for what would spoil a fit, before it is made.

    Columns of covariates are looked at where they bear on anything observed: those
    that are 0, constant twice, far from the usual units, or (nearly) a sum of others
    (variance inflated a hundredfold); and those that hold the emission of their own
    step, as a reward that drives the step it is given at. Labels: classes that never
    come, and classes that covariates tell apart without a mistake (Albert & Anderson
    1984). Transitions: more weights than there may be switches; two levels that nothing
    tells apart.

    Args:
        model: a :class:`GLMHMM`; it is not changed.
        data: a :class:`Sequences`.

    Returns:
        Findings with a code, a severity and a sentence that says what to do; empty
        where nothing was found.

    Raises:
        ValueError: the data do not fit the model.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [3.0, 0.0], [1.0, 0.0]]
        >>> data = gh.Sequences([0, 1, 1, 0, 1], x)
        >>> gh.check(gh.GLMHMM(1, gh.Bernoulli()), data).codes
        ('zero-columns',)
    """
    check_is_model(model, data)
    program = Program.of(copy.deepcopy(model), data)
    subject = "a model and its data"
    if not program.components:
        return Report.of(subject, (), (), dict.fromkeys(_MADE, UNTOLD))
    columns = dict(WeightedColumns.of(program.components, program.data))
    with torch.no_grad():
        lacking = leaks_left_out(list(columns.values()))
        return Report.of(subject, _findings(program, columns), _MADE, lacking)


def _findings(
    program: Program, by_component: Mapping[str, WeightedColumns]
) -> Iterator[Finding]:
    for columns in by_component.values():
        yield from column_findings(columns)
    yield from leak_findings(list(by_component.values()))
    # Names and supports alone are read of the distribution.
    start = torch.zeros(program.coordinates.size, dtype=torch.float64)
    for hidden, value in program.observed(program.coordinates.unpack(start)).values():
        for name, output in hidden.outputs(value).items():
            component = output.component
            is_labels = output.emission_dist.has_enumerate_support
            if is_labels and component in by_component:
                what = f"emissions of {name}" if name else "emissions"
                classes = program.data.class_names
                yield from label_findings(
                    what, output, classes, by_component[component]
                )
    yield from _switches(program)
    yield from free_levels(program.model)


def _switches(program: Program) -> Iterator[Finding]:
    if program.model.num_states == 1:
        return
    moves = [n for n in program.priors if n.startswith("transitions.")]
    own = [name for name in moves if name not in program.latents]
    weights = sum(program.coordinates.shapes[name].numel() for name in own)
    chances = (program.data.num_steps - program.data.num_sessions) / _USUAL_DWELL
    if chances < weights:
        model = program.model
        advice = [f"fit {fewer_of(model)}", *_undriven(model)]
        if any(is_flat(program.priors[name]) for name in own):
            advice.append("give the transitions a prior")
        yield Finding(
            "few-switches",
            NOTE,
            f"transitions have {weights} free numbers, and states that last "
            f"{_USUAL_DWELL} steps would switch about {chances:.0f} times: "
            f"{_joined(advice)}",
        )


def _joined(advice: list[str]) -> str:
    """One piece of advice, or several of which one will do."""
    *others, last = advice
    return f"{', '.join(others)}, or {last}" if others else last


def _undriven(model: GLMHMM) -> list[str]:
    """How transitions of the same kind have fewer weights, if covariates drive them."""
    if not any(name.endswith("weights") for name in model.transitions.sites):
        return []
    is_table = isinstance(model.transitions, InputDriven | SharedInputDriven)
    other = " or gh.Stationary()" if is_table else ""
    return [f"take fewer transition covariates{other}"]

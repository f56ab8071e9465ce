"""Formulas as R and patsy write them, read into the terms of a design.

Formulaic says which products of factors a formula means; what a factor means is said
here, so that it knows sessions, learns from training data and closes the loop.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

from glmhmm_pyro.sequences.validation import close_matches

from .categories import Factor, Interaction
from .filters import FilterTerm, Lags
from .history import PreviousChoice
from .sources import Imputed, Missing, Source, StepInSession
from .splines import Spline
from .terms import Columns, Intercept, Standardised, Term, as_term

if TYPE_CHECKING:
    from formulaic.parser.types import Factor as ParsedFactor

    from .design import Design

# Factors that are no categories, and categories: the span of their product.
Span = tuple[frozenset[str], frozenset[str]]


def _lag(column: str, steps: int | None = None) -> Term:
    """The last valid choice; or a number some steps before."""
    if steps is None:
        return PreviousChoice(column)
    return Lags(column, 1, first_lag=steps)


def _spline(
    x: str | Source, df: int, degree: int = 3, include_intercept: bool = False
) -> Term:
    return Spline(x, df, degree, full=include_intercept)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "C": Factor,
    "lag": _lag,
    "lags": lambda column, number: Lags(column, number, first_lag=1),
    "bs": _spline,
    "scale": Standardised,
    "step": StepInSession,
    "impute": Imputed,
    "missing": Missing,
}


def terms_of(formula: str) -> list[Term | Source]:
    """The terms of a formula; see :meth:`Design.from_formula`.

    Raises:
        ValueError: it has a left side, or a factor that is none of those known.
    """
    parsed = _parsed(formula)
    if hasattr(parsed, "rhs"):
        raise ValueError(
            f"formula must say covariates alone, got {formula!r}; leave out what "
            "stands before '~': emissions are named beside it"
        )
    spanned: set[Span] = set()
    made = [pair for term in parsed for pair in _terms(term.factors, spanned)]
    labels = Counter(as_term(term).label for term, _ in made)
    return [
        _with_name(term, text) if labels[as_term(term).label] > 1 else term
        for term, text in made
    ]


def _parsed(formula: str) -> Any:
    """The terms that formulaic finds."""
    try:
        from formulaic.errors import FormulaSyntaxError
        from formulaic.parser import DefaultFormulaParser
    except ImportError as error:
        raise ImportError(
            "formula must be read by formulaic, which is not installed; install "
            "glmhmm-pyro[formula], or write the terms: Design(...)"
        ) from error
    try:
        found = DefaultFormulaParser().get_terms(formula)
    except FormulaSyntaxError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"formula must be one that formulaic can read, got {formula!r}: "
            f"{reason:.200}; write such as 'stim + C(block)'"
        ) from error
    return found.root if hasattr(found, "root") else found


def _terms(
    factors: "Iterable[ParsedFactor]", spanned: set[Span]
) -> list[tuple[Term | Source, str]]:
    """What one term of a formula adds to those before it, each with its text.

    A product with a category is that with all levels; what earlier terms span already
    is left out, by a category without its reference level.

    Args:
        factors: of the term, as formulaic has them.
        spanned: products that earlier terms span, to which those of this one are added.
    """
    parts = {f.expr: _meaning_of(f) for f in factors if f.expr != "1"}
    numbers = frozenset(n for n, part in parts.items() if not isinstance(part, Factor))
    categories = sorted(parts.keys() - numbers)
    subsets = [
        frozenset(chosen)
        for size in range(len(categories) + 1)
        for chosen in combinations(categories, size)
    ]
    left = [chosen for chosen in subsets if (numbers, chosen) not in spanned]
    spanned |= {(numbers, chosen) for chosen in subsets}
    terms = []
    while left:
        reduced, full = left[0], frozenset[str]()
        for name in categories:
            wider = full | {name}
            inside = [reduced | s for s in subsets if s <= wider]
            if name not in reduced and all(s in left for s in inside):
                full = wider
        left = [s for s in left if not reduced <= s <= reduced | full]
        kept = {n: p for n, p in parts.items() if n in numbers | reduced | full}
        coded = [
            (
                Factor(part.column, part.reference, full=name in full)
                if isinstance(part, Factor)
                else part
            )
            for name, part in kept.items()
        ]
        product: Any = (
            Interaction(*coded) if len(coded) > 1 else [*coded, Intercept()][0]
        )
        terms.append((product, ":".join(kept)))
    return terms


def _with_name(term: Term | Source, text: str) -> Any:
    """A term called as the formula has it, where it can have a name of its own."""
    if isinstance(term, (Factor, FilterTerm, PreviousChoice, Spline)):
        return replace(cast(Any, term), name=text)
    return term


def _meaning_of(factor: "ParsedFactor") -> Any:
    """What one factor of a formula means."""
    if factor.eval_method.value == "lookup":
        return Columns(factor.expr)
    return _meant(ast.parse(factor.expr, mode="eval").body, factor.expr)


def _meant(node: ast.expr, text: str) -> Any:
    """The value of an expression: a column's name, a number or text, or a call."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in FUNCTIONS:
            arguments = [_meant(argument, text) for argument in node.args]
            options = {str(k.arg): _meant(k.value, text) for k in node.keywords}
            return FUNCTIONS[name](*arguments, **options)
        text = f"{name}(...)"
        near = close_matches(name, FUNCTIONS)
    else:
        near = ""
        try:
            return ast.literal_eval(node)
        except ValueError:
            pass
    raise ValueError(
        f"a formula must be made of columns and of {', '.join(FUNCTIONS)}, got {text!r}"
        f"{near or '; make it a column of the data frame first'}"
    )


def from_formula(design: type["Design"], formula: str) -> Any:
    """A design from a formula, as R and patsy write them.

    An intercept is added unless the formula has ``- 1`` or ``0 +``; ``a:b`` are
    products, ``a*b`` is ``a + b + a:b``. Beside names of numeric columns it knows

    - ``C(x, reference=...)``: :class:`Factor`, with a column for every level where
      no term before spans their sum;
    - ``lag(x)``: :class:`PreviousChoice`; ``lag(x, k)``: a number k steps before;
      ``lags(x, n)``: those of the last n steps;
    - ``bs(x, df, degree=3, include_intercept=False)``: :class:`Spline`;
    - ``scale(x)``: :class:`Standardised`; ``impute(x)``, ``missing(x)``:
      :class:`Imputed`, :class:`Missing`; ``step()``: :class:`StepInSession`.

    Args:
        formula: of the covariates; formulaic reads it (the extra ``formula``).

    Raises:
        ValueError: the formula cannot be read, or has a left side.
        ImportError: formulaic is not installed.

    Example:
        >>> from glmhmm_pyro.covariates import Design
        >>> Design.from_formula("stim + C(block) + stim:lag(choice) + bs(trial, 4)")
        Design(intercept, stim, block, stim:previous_choice, trial)
    """
    return design(*terms_of(formula))

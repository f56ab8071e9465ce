"""ArviZ, imported where it is used, by either of its interfaces (0.x, and 1.x).

Everything that this package wants of ArviZ it takes from here. While it is imported
arviz 0.23 warns of its successor, once a day, and leaves a date in the user's cache
folder; neither may disturb a fit.
"""

import copy
import threading
import warnings
from collections.abc import Mapping
from importlib import import_module
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.callers import warn_caller

if TYPE_CHECKING:
    import xarray as xr

_import_lock = threading.RLock()


def load_arviz() -> ModuleType:
    """The module ``arviz``: nothing is warned of, and no folder has to be writable.

    Raises:
        ImportError: arviz is not installed, or something that it needs.
    """
    with _import_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module("arviz")
        except OSError:
            return _with_another_cache_folder()


def _with_another_cache_folder() -> ModuleType:
    """The import, with a folder for this process alone in place of the user's."""
    import platformdirs

    theirs = platformdirs.user_cache_dir
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        platformdirs.user_cache_dir = lambda *_, **__: folder
        try:
            return import_module("arviz")
        finally:
            platformdirs.user_cache_dir = theirs


def leave_one_out(exported: Any) -> Any:
    """What ``az.loo`` says of the one variable of log-likelihoods, with all terms.

    Pareto shapes that are too large are left for the caller to speak of.
    """
    arviz = load_arviz()
    options = {} if _is_new(arviz) else {"scale": "log"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return arviz.loo(exported, pointwise=True, **options)


def pareto_shapes(loo: Any) -> np.ndarray:
    """Shapes of the tails of the importance weights of every term."""
    return np.asarray(loo.pareto_k, dtype=float)


def with_exact(loo: Any, exact: Mapping[int, float]) -> Any:
    """The same with some terms known exactly, whose Pareto shapes are then 0.

    Args:
        loo: of :func:`leave_one_out`; it is not changed.
        exact: log densities of what was left out, by number.
    """
    found, is_new = copy.copy(loo), hasattr(loo, "elpd_i")
    names = ("elpd", "p", "elpd_i") if is_new else ("elpd_loo", "p_loo", "loo_i")
    elpd, p, each = names
    terms, shapes = (found[name].copy(deep=True) for name in (each, "pareto_k"))
    for number, term in exact.items():
        terms[number], shapes[number] = term, 0.0
    total = float(terms.sum())
    # What all data say of themselves does not change: its sum is elpd + p.
    found[p] = found[p] + found[elpd] - total
    found[elpd], found[each], found["pareto_k"] = total, terms, shapes
    found["se"] = float(np.sqrt(terms.size * np.var(terms.values)))
    found["warning"] = bool((shapes > found["good_k"]).any())
    return found


def container(groups: "dict[str, xr.Dataset]") -> Any:
    """Groups in what ArviZ reads: ``InferenceData``, from 1.0 on a ``DataTree``.

    Warns:
        UserWarning: arviz cannot be imported; the groups come in a ``DataTree``.
    """
    import xarray as xr

    try:
        arviz = load_arviz()
    except Exception as error:  # Whatever an import runs into: the groups are made.
        warn_caller(
            f"arviz cannot be imported ({type(error).__name__}: {error}); the groups "
            "are returned in an xarray.DataTree, which arviz 1.0 and newer read",
            UserWarning,
        )
        return xr.DataTree.from_dict(groups)
    if _is_new(arviz):
        return xr.DataTree.from_dict(groups)
    return arviz.InferenceData(**groups)


def _is_new(arviz: ModuleType) -> bool:
    """Whether it is 1.0 or newer."""
    return int(arviz.__version__.partition(".")[0]) >= 1

"""How kernels are compiled: serial, without the interpreter lock, cached on disk."""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable

import numba
from numba.core import event

from glmhmm_pyro.chain.announcing import Announcer

_logger = logging.getLogger(__name__)

# Infinities and NaN keep their meaning, which plain fastmath would take from them.
_EXACT = {"contract", "nsz"}
_REASSOCIATED = _EXACT | {"reassoc", "arcp"}

event.register("numba:compile", Announcer())


def compiled(
    function: Callable[..., Any] | None = None,
    *,
    reassociate: bool = True,
    exact: bool = False,
    inline: bool = False,
    allocates: bool = True,
) -> Callable[..., Any]:
    """Compile a kernel on its first call and keep the machine code on disk.

    Where no cache folder can be written the kernel is compiled anew by every process,
    and the log says so once.

    Args:
        function: what is compiled; left out in a decorator with arguments.
        reassociate: whether sums may be taken in any order.
        exact: whether every operation is rounded by itself, in the order it is written
            in, so that results are the same bits however loops are unrolled.
        inline: whether callers copy the function, under their own rules for sums.
        allocates: whether it makes arrays. In one that makes none numba counts no
            references, which takes time wherever an array is handed on.
    """
    if function is None:
        return functools.partial(
            compiled,
            reassociate=reassociate,
            exact=exact,
            inline=inline,
            allocates=allocates,
        )
    rules = {"nsz"} if exact else _REASSOCIATED if reassociate else _EXACT
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": rules,
        "inline": _into_kernels if inline else "never",
        "no_cfunc_wrapper": True,
        "_nrt": allocates,
    }
    if inline:
        _copied.add(function)
    try:
        kernel: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        _log_uncached(str(error))
        kernel = numba.njit(**options)(function)
    return kernel


# Functions that callers copy.
_copied: set[Callable[..., Any]] = set()


def _into_kernels(call: Any, caller: Any, function: Any) -> bool:
    """Whether a call is replaced by a copy here: in kernels, not in what they copy.

    Else a function would be copied again with each of those that it was copied into,
    which takes a fifth of the time of compilation.
    """
    return caller.func_id.func not in _copied


def is_on_disk(kernel: Any, signature: tuple[Any, ...]) -> bool:
    """Whether the cache folder has machine code of a kernel for such arguments."""
    cache = kernel._cache
    if not hasattr(cache, "_cache_file"):
        return False
    key = cache._index_key(signature, kernel.targetctx.codegen())
    return key in cache._cache_file._load_index()


_logged: set[str] = set()


def _log_uncached(reason: str) -> None:
    if not _logged:
        _logged.add(reason)
        _logger.warning(
            "no folder to cache compiled kernels in is writable, so that every process "
            "compiles them anew (%s); set NUMBA_CACHE_DIR to a writable folder",
            reason,
        )

"""Which kernels of counts run: one for any number of states, or one made for theirs.

A number of states that is known as a kernel is compiled makes it up to five times
faster, and costs about three seconds of compilation. So the first passes go through
the kernels that know none, which are compiled once; the special one is used where the
machine has it on disk, and compiled as soon as the general one has lost that much. Both
round every operation in the same order: results are the same bits, whichever runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.chain.compiler import is_on_disk
from glmhmm_pyro.chain.half_kernels import counts_halved
from glmhmm_pyro.chain.scaled_kernels import counts_scaled
from glmhmm_pyro.chain.stationary_kernels import counts_stationary

# From here on the compiler gains nothing by knowing the number of states.
GREATEST = 8
# The same for pairs of a slow and a fast state.
MOST_PAIRS = 30
# Steps at which the general kernel, 20 to 40 ns a step slower, has lost about what the
# compilation of a special one takes.
ENOUGH_STEPS = 5 * 10**7

# What tells a kernel the number of states: by its length, and by its type, if it is a
# tuple, as the kernel is compiled.
States = tuple[float, ...] | NDArray[np.float64]
Kernel = Callable[..., int]

_passed: Counter[tuple[Kernel, tuple[int, ...]]] = Counter()
_special: set[tuple[Kernel, tuple[int, ...]]] = set()


def states_for(kernel: Kernel, num_states: int, steps: int) -> States:
    """What a kernel is told as it is about to pass over so many steps."""
    return _states_told(kernel, (num_states,), steps, num_states <= GREATEST)[0]


def pair_for(
    kernel: Kernel, slow: int, fast: int, slots: int, steps: int
) -> tuple[States, ...]:
    """The same for a kernel of pairs of a slow and a fast state.

    Between half-steps they are in one of ``slots`` places by slow state.
    """
    return _states_told(kernel, (slow, fast, slots), steps, slow * fast <= MOST_PAIRS)


def _states_told(
    kernel: Kernel, numbers: tuple[int, ...], steps: int, gains: bool
) -> tuple[States, ...]:
    which = (kernel, numbers)
    if gains and which not in _special:
        first = which not in _passed
        _passed[which] += steps
        if _passed[which] > ENOUGH_STEPS or (
            first and is_on_disk(kernel, _signature(*numbers))
        ):
            _special.add(which)
    if which in _special:
        return tuple((0.0,) * number for number in numbers)
    return tuple(np.empty(number) for number in numbers)


@suggests_names
def warm_up(num_states: Iterable[int | tuple[int, int]] = (2, 3, 4)) -> None:
    """Compile the recursions for these numbers of states now, and keep them on disk.

    Without it a number of states gets kernels of its own once it was used for long: in
    small fits that is never, and they take a little longer. Every process that comes
    later, on this machine and with the same cache folder (numba's, ``NUMBA_CACHE_DIR``
    moves it), finds what was compiled. Results are the same bits with it and without.

    Args:
        num_states: numbers of states, each of which takes about five seconds the first
            time; of 1, and from 9 on, there is nothing to gain, and nothing is done. A
            pair is that of a slow and a fast number of states on two levels, up to 30
            in all.

    Raises:
        ValueError: what is no number of states.

    Example:
        >>> warm_up([2])
    """
    for given in num_states:
        numbers: tuple[Any, ...] = (given,)
        if isinstance(given, tuple) and len(given) == 2:
            numbers = given
        for states in numbers:
            if not isinstance(states, (int, np.integer)) or states < 1:
                raise ValueError(
                    "num_states must hold integers of at least 1, or pairs of them, "
                    f"got {given!r}; give for example (2, 3, 4)"
                )
        kernels: tuple[Any, ...] = (counts_stationary, counts_scaled)
        if len(numbers) == 2:
            kernels = (counts_halved,) if math.prod(numbers) <= MOST_PAIRS else ()
            numbers = (*numbers, numbers[1])
        elif not 1 < numbers[0] <= GREATEST:
            kernels = ()
        for kernel in kernels:
            kernel.compile(_signature(*numbers))
            _special.add((kernel, tuple(map(int, numbers))))


def _signature(*num_states: int) -> tuple[numba.types.Type, ...]:
    """Types of the arguments of a kernel that is made for these numbers."""
    numbers, places = numba.float64[::1], numba.int64[::1]
    return (
        *(numba.types.UniTuple(numba.float64, number) for number in num_states),
        *(numbers,) * 3,
        places,
        *(numba.int64,) * 2,
        *(numbers,) * 6,
    )

"""Cost of the E-step beside the cost of copying its inputs and outputs once.

    python benchmarks/estep.py [--quick]

One core. Log potentials go in and expected counts come out, by the public function,
in the memory of the result before, as in EM.
The ratio is the least time over the time that a copy would take at the bandwidth that
is measured just before (bytes read plus bytes written); for chains whose transition is
the same at every step the matrix counts as nothing. Least and median of several calls,
in processor seconds: other programs that use the machine still show in them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from glmhmm_pyro.chain import expected_counts


class Timing(NamedTuple):
    """Least and median processor seconds of a call."""

    least: float
    median: float


def measure(function: Callable[[], object], seconds: float) -> Timing:
    """Call a function once to warm up, then for some seconds, at least three times."""
    function()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < deadline:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return Timing(min(times), float(np.median(times)))


def bandwidth(seconds: float) -> float:
    """Bytes per second, read plus written, of a copy that no cache can hold."""
    source, target = np.ones(2**25), np.zeros(2**25)
    return 2 * source.nbytes / measure(lambda: np.copyto(target, source), seconds).least


def potentials(
    states: int, steps: int, stationary: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random normalised log potentials of one session."""
    generator = torch.Generator().manual_seed(states)
    shape = (1 if stationary else steps, states, states)
    transition = torch.randn(shape, generator=generator, dtype=torch.float64)
    emission = torch.rand(steps, states, generator=generator, dtype=torch.float64)
    return (
        torch.zeros(1, states, dtype=torch.float64),
        transition.log_softmax(-1),
        (0.05 + 0.9 * emission).log(),
        torch.tensor([steps]),
    )


def row(states: int, steps: int, stationary: bool, seconds: float) -> str:
    """One line of the table, with the copy's bandwidth measured beside it."""
    arguments = potentials(states, steps, stationary)
    copy = bandwidth(seconds / 2)
    used = expected_counts(*arguments)
    timing = measure(lambda: expected_counts(*arguments, out=used), seconds)
    touched = 2 * sum(x.nbytes for x in arguments[1:3])
    kind = "stationary" if stationary else "varying"
    return (
        f"{kind:>10} {states:3d} {steps:9d} {timing.least / steps * 1e9:9.1f} "
        f"{timing.median / steps * 1e9:9.1f} {timing.least * copy / touched:7.2f} "
        f"{steps / timing.least / 1e6:9.1f} {copy / 1e9:9.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rows")
    quick = parser.parse_args().quick
    seconds = 0.3 if quick else 2.0
    torch.set_num_threads(1)
    cases = [
        (states, steps, False)
        for states in ((2, 8) if quick else (2, 3, 4, 5, 6, 7, 8, 16))
        for steps in (10**4, 10**5, 10**6)
        if states * steps <= 8 * 10**6
    ]
    lengths = (10**5, 10**6) if quick else (10**4, 10**5, 10**6, 10**7)
    cases += [(2, steps, True) for steps in lengths]
    cases += [] if quick else [(2, 10**7, False)]
    print(
        "transition   K     steps  ns/step    median   ratio   Msteps/s  copy GB/s",
        flush=True,
    )
    for states, steps, stationary in cases:
        print(row(states, steps, stationary, seconds), flush=True)


if __name__ == "__main__":
    main()

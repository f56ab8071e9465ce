"""Two levels by half-steps against the same chain in one table of pairs of states.

    python benchmarks/half_steps.py [steps]

Slow and fast states driven by two covariates, Bernoulli emissions by fast state. An
E-step, and a log-likelihood with its slope by all parameters: through the table of all
moves between pairs, which grows with (slow * fast)^2 (``table``); through a graph of
distributions by half-steps (``graph``), as SVI and models of a user's own go; and as
EM, MAP and NUTS go (``engine``). Fast states go on from where they are, or begin anew
in every slow state, which is left as they have it (``within``). Seconds of CPU, the
least of five turns that alternate, in one thread; memory is how much the process grew
at its peak.

What came out, 20,000 steps in 20 sessions: what the table takes, and how many times
what the others take; memory against the engine's, at twice the steps, of an evaluation
and what is kept for it::

    times      | E-step, table| graph engine memory | slope, table | graph engine memory
    2x2        |      10.7 ms |   2.3    5.0    2.3 |      22.4 ms |   3.1    7.7    2.5
    3x3        |      42.6 ms |   4.3    8.5    4.5 |      61.1 ms |   4.2    9.1    4.1
    5x5        |     329.5 ms |  10.9   21.0    9.5 |     681.0 ms |  12.0   26.5    7.9
    2x2 within |      22.5 ms |   3.2    6.3    3.4 |      54.8 ms |   5.1    9.9    3.5
    3x3 within |      99.0 ms |   4.6    6.8    5.3 |     217.8 ms |   5.9   10.6    4.9
    5x5 within |     817.8 ms |   7.6   14.2    9.0 |    2185.6 ms |  11.5   24.2    8.3

The machine was shared with others.
"""

import functools
import itertools
import os
import subprocess
import sys
import time

import numpy as np
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.steps import ComponentSteps

FORMS = ("table", "graph", "engine")
SIZES = [(2, 2), (3, 3), (5, 5)]
# What the second half-step is: the fast chain goes on, or begins anew and may end.
LEVELS = {
    "": {},
    "within": {"entry": gh.Initial(), "slow_depends_on_fast": True},
}


def made(steps):
    """Choices and covariates in 20 sessions."""
    rng, ones = np.random.default_rng(0), np.ones(steps)
    return gh.Sequences(
        rng.integers(0, 2, steps),
        np.stack([rng.normal(size=steps), ones], 1),
        lengths=[steps // 20] * 20,
        transition_covariates=np.stack([rng.normal(size=steps), ones], 1),
    )


class Case:
    """A model with data, values of its parameters, and ways to evaluate them."""

    def __init__(self, slow, fast, levels, steps, data=None):
        rng = np.random.default_rng(1)
        self.data = made(steps) if data is None else data
        moves = TwoLevels(gh.InputDriven(), gh.InputDriven(), **LEVELS[levels])
        self.model = gh.GLMHMM(Levels(slow, fast), gh.Bernoulli(), moves)
        self.program = Program.of(self.model, self.data)
        size = self.program.coordinates.size
        self.point = 0.3 * torch.from_numpy(rng.normal(size=size))
        self.params = self.program.coordinates.unpack(self.point)
        self.steps = ComponentSteps(self.program.model, self.data, None)

    def hidden(self, params, form):
        """The distribution, its moves in a table or by half-steps."""
        model, data = self.program.model, self.data
        found = model.hidden_markov_at(params, data)
        if form == "graph":
            return found
        with model.at(params):
            moves = model.transitions.logits(data)
        return gh.HiddenMarkov(
            found.initial_logits, moves, found.emission_dist, found.lengths
        )

    def e_step(self, form):
        """Log-likelihood and expected counts."""
        if form == "engine":
            return self.steps.expect([self.params])
        with torch.no_grad():
            hidden = self.hidden(self.params, form)
            return hidden.expected_counts(self.data.emissions)

    def slope(self, form):
        """Log-likelihood and its derivatives."""
        if form == "engine":
            return self.program.evaluated(self.point, jacobian=False)
        leaves = {n: v.clone().requires_grad_() for n, v in self.params.items()}
        total = self.hidden(leaves, form).log_prob(self.data.emissions)
        return torch.autograd.grad(total, list(leaves.values()))


def seconds(functions, turns=5):
    """Least CPU seconds of each."""
    for function in functions:
        function()
    found = [[] for _ in functions]
    for _ in range(turns):
        for function, own in zip(functions, found):
            began = time.process_time()
            function()
            own.append(time.process_time() - began)
    return [min(own) for own in found]


def grown(slow, fast, levels, steps, kind, form):
    """By how many bytes a process of its own grows, at its peak, for one evaluation."""
    given = "grown", slow, fast, levels, steps, kind, form
    call = map(str, [sys.executable, __file__, *given])
    # Memory that is freed leaves the process at once.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(
        [*call], capture_output=True, check=True, text=True, env=environment
    )
    return int(run.stdout)


def grow(slow, fast, levels, steps, kind, form):
    """What :func:`grown` asks of the process: the data are there already (Linux)."""
    getattr(Case(slow, fast, levels, 100), kind)(form)
    data = made(steps)
    before = size("VmRSS")
    case = Case(slow, fast, levels, steps, data)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")
    getattr(case, kind)(form)
    print(size("VmHWM") - before)


def size(name):
    """Bytes of memory of this process, now or at the peak."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(x.split()[1]) for x in status if x.startswith(name)) * 1024


def main():
    """Print a line for each number of states."""
    if sys.argv[1:2] == ["grown"]:
        slow, fast, levels, steps, kind, form = sys.argv[2:]
        return grow(int(slow), int(fast), levels, int(steps), kind, form)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    torch.set_num_threads(1)
    gh.chain.warm_up(SIZES)
    figures = "graph engine memory"
    print(f"{'times':10} | E-step, table| {figures} | slope, table | {figures}")
    for levels, (slow, fast) in itertools.product(LEVELS, SIZES):
        line = f"{f'{slow}x{fast} {levels}':10} |"
        for kind in ("e_step", "slope"):
            case = Case(slow, fast, levels, steps)
            ways = [functools.partial(getattr(case, kind), form) for form in FORMS]
            table, graph, engine = seconds(ways)
            known = slow, fast, levels, 2 * steps, kind
            memory = grown(*known, "table") / grown(*known, "engine")
            line += f" {1000 * table:9.1f} ms | {table / graph:5.1f}"
            line += f"{table / engine:7.1f}{memory:7.1f} |"
        print(line.removesuffix(" |"), flush=True)


if __name__ == "__main__":
    main()

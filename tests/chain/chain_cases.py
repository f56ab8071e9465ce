"""Random potentials of small chains, for the tests of this folder."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

ENGINES = ["compiled", "torch"]
FEW = settings(max_examples=25)
LENGTHS = torch.tensor([3, 1, 4])


def random_potentials(
    states=2,
    lengths=LENGTHS,
    batches=((), (), ()),
    shared=(False, False),
    seed=0,
    scale=1.0,
    forbidden=0.0,
    masked=0.0,
):
    """Potentials that are not normalised; shares of them -inf, or steps of zeros."""
    generator = torch.Generator().manual_seed(seed)
    steps, sessions = int(lengths.sum()), len(lengths)
    shapes = (
        (*batches[0], 1 if shared[0] else sessions, states),
        (*batches[1], 1 if shared[1] else steps, states, states),
        (*batches[2], steps, states),
    )
    potentials = []
    for shape in shapes:
        draws = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        chance = torch.rand(shape, generator=generator, dtype=torch.float64)
        potentials.append(draws.masked_fill(chance < forbidden, -torch.inf))
    hidden = torch.rand(steps, generator=generator) < masked
    potentials[2] = potentials[2].masked_fill(hidden[:, None], 0.0)
    return potentials


@st.composite
def chains(draw):
    """Potentials and lengths of a chain small enough to list its paths."""
    states = draw(st.integers(1, 4))
    longest = {1: 5, 2: 5, 3: 4, 4: 3}[states]
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=3))
    batches = draw(
        st.sampled_from(
            [
                ((), (), ()),
                ((2,), (2,), (2,)),
                ((), (2,), ()),
                ((2,), (), (1,)),
                ((2, 1), (2,), ()),
                ((), (1, 2), (2, 1)),
            ]
        )
    )
    lengths = torch.tensor(lengths)
    potentials = random_potentials(
        states,
        lengths,
        batches,
        (draw(st.booleans()), draw(st.booleans())),
        draw(st.integers(0, 2**31)),
        draw(st.sampled_from([1.0, 30.0, 2000.0])),
        draw(st.sampled_from([0.0, 0.0, 0.2])),
        draw(st.sampled_from([0.0, 0.4])),
    )
    return potentials, lengths

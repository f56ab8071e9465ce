"""Expected counts in the memory of an earlier result."""

import pytest
import torch

from glmhmm_pyro.chain import expected_counts


def potentials(seed, steps=7, states=3, shared=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = (1, states), (1 if shared else steps, states, states), (steps, states)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("shared", [False, True])
def test_counts_do_not_depend_on_what_the_memory_held(engine, shared):
    lengths = torch.tensor([4, 1, 2])
    used = expected_counts(*potentials(0, shared=shared), lengths, engine=engine)
    fresh = expected_counts(*potentials(1, shared=shared), lengths, engine=engine)
    again = expected_counts(
        *potentials(1, shared=shared), lengths, engine=engine, out=used
    )
    for name, value in fresh._asdict().items():
        torch.testing.assert_close(getattr(again, name), value)


def test_the_large_counts_are_written_into_the_memory_given():
    lengths = torch.tensor([7])
    used = expected_counts(*potentials(0), lengths)
    again = expected_counts(*potentials(1), lengths, out=used)
    assert again.transition.data_ptr() == used.transition.data_ptr()
    assert again.emission.data_ptr() == used.emission.data_ptr()


def test_memory_of_another_size_is_refused():
    used = expected_counts(*potentials(0, steps=6), torch.tensor([6]))
    with pytest.raises(ValueError, match="out must be an earlier float64 result"):
        expected_counts(*potentials(1), torch.tensor([7]), out=used)

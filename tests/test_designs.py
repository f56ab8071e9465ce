"""Designs of every form multiply as the matrix of their rows does."""

import numpy as np
import pytest
import torch
from families import normals
from torch.autograd import gradcheck, gradgradcheck

import glmhmm_pyro as gh
from glmhmm_pyro.designs import Dense, Joined, Repeated, Stacked, as_design, design_of
from glmhmm_pyro.designs.streamed import Changed, Chosen, Moved

ROWS = torch.tensor(
    [[0.5, -2.0, 1.0], [3.0, 0.25, 1.0], [-1.5, 4.0, 1.0], [9.0, 9.0, 9.0]],
    dtype=torch.float64,
)
INDEX = torch.tensor([2, 0, 0, 1, 2, 2, 0])  # The last row stands nowhere.
NAMES = ("a", "b", "one")
MATRIX = ROWS[INDEX].numpy()

FORMS = {
    "dense": lambda: Dense(ROWS[INDEX], NAMES),
    "repeated": lambda: Repeated(ROWS, INDEX, NAMES),
    "changed": lambda: streamed(ROWS[INDEX]),
    "moved": lambda: Moved(streamed(2 * ROWS[INDEX] + 5), 5.0, 2.0),
    "chosen": lambda: Chosen(streamed(ROWS), INDEX),
    "side by side": lambda: Stacked(
        [streamed(ROWS[INDEX, :2], NAMES[:2]), Dense(ROWS[INDEX, 2:], NAMES[2:])]
    ),
    "end to end": lambda: Joined(
        [streamed(ROWS[INDEX[:4]]), Repeated(ROWS, INDEX[4:], NAMES)]
    ),
}


def streamed(rows, names=NAMES):
    """Rows that are read when they are multiplied."""
    return Changed(Dense(rows, names), torch.clone, names)


every_form = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)


def random(*shape):
    rng = np.random.default_rng(len(shape))
    return torch.from_numpy(rng.normal(size=shape))


def close(one, other):
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-13)


@every_form
def test_products_are_those_of_the_matrix(make):
    design = make()
    weights, residuals = random(2, 5, 3, 4), random(2, 5, 7)
    close(design @ weights, np.einsum("tf,abfc->abtc", MATRIX, weights))
    close(design @ weights[0, 0, :, 0], MATRIX @ weights[0, 0, :, 0].numpy())
    close(residuals @ design, np.einsum("abt,tf->abf", residuals, MATRIX))
    out = torch.full((len(residuals[0]), MATRIX.shape[1]), torch.nan).double()
    design.collect(residuals[0], out)
    close(out, residuals[0].numpy() @ MATRIX)
    close(residuals[0, 0] @ design, MATRIX.T @ residuals[0, 0].numpy())
    moments = np.einsum("abt,tf,tg->abfg", residuals, MATRIX, MATRIX)
    close(design.gram(residuals), moments)
    close(design.gram(residuals[1, 2]), moments[1, 2])


@every_form
def test_products_can_be_differentiated_twice(make):
    design = make()
    for product, shape in (
        (lambda w: design @ w, (3, 2)),
        (lambda r: r @ design, (2, 7)),
        (design.gram, (2, 7)),
    ):
        at = random(*shape).requires_grad_()
        assert gradcheck(product, at)
        assert gradgradcheck(lambda x, f=product: f(x).square(), at)


@every_form
def test_a_design_tells_what_it_is(make):
    design = make()
    assert design.shape == (7, 3) and len(design) == 7 and design.names == NAMES
    assert design.dtype == torch.float64 and design.device.type == "cpu"
    close(design.dense(), MATRIX)
    close(torch.stack(design.extent()), [MATRIX.min(0), MATRIX.max(0)])
    close(design.means(), MATRIX.mean(0))
    close(design.means(power=2), (MATRIX**2).mean(0))
    pieces = list(design.stretches(3))
    assert [part.shape[0] for _, part in pieces] == [3, 3, 1]
    for where, part in pieces:
        close(part, MATRIX[where])


@every_form
def test_a_design_of_changed_rows_or_columns_or_steps(make):
    design = make()
    two = design.columns([2, 0])
    close(two.dense(), MATRIX[:, [2, 0]])
    assert two.names == ("one", "a") and two.shape == (7, 2)
    close(design.columns(slice(1, None)).dense(), MATRIX[:, 1:])
    centre, scale = random(3), 1.5 + random(3).abs()
    moved = (MATRIX - centre.numpy()) / scale.numpy()
    close(design.moved(centre, scale).dense(), moved)
    close(design.with_constant().dense(), np.c_[MATRIX, np.ones(7)])
    assert len(design.with_constant().names) == 4
    single = design.to(torch.float32)
    assert (single @ random(3, 2).float()).dtype == single.dtype == torch.float32
    some = torch.tensor([True, False, True, True, False, False, True])
    for steps in (some, some.nonzero().flatten()):
        close(design.at(steps).dense(), MATRIX[some.numpy()])
        close(torch.stack(design.at(steps).extent())[1], MATRIX[some.numpy()].max(0))


def test_arrays_are_dense_designs_and_designs_stay_what_they_are():
    design = as_design(MATRIX, NAMES)
    assert isinstance(design, Dense) and design.names == NAMES
    assert as_design(design) is design
    assert as_design(MATRIX, NAMES[:2]).names is None


def repeating(steps=4000, rows=40):
    rng = np.random.default_rng(5)
    some = np.c_[rng.normal(size=(rows, 3)), np.ones(rows)]
    return torch.from_numpy(some[rng.integers(rows, size=steps)])


def test_rows_that_repeat_themselves_are_found():
    rows = repeating()
    design = design_of(rows, NAMES + ("d",))
    assert isinstance(design, Repeated) and len(design.rows) == 40
    assert torch.equal(design.dense(), rows) and design.names == NAMES + ("d",)


def test_zeros_of_either_sign_are_one_number():
    rows = repeating(rows=2)
    rows[:, 0] = 0.0
    rows[::2, 0] = -0.0
    assert len(design_of(rows).rows) == 2


@pytest.mark.parametrize(
    "rows", [repeating(rows=3600), repeating(steps=80, rows=2)], ids=["many", "short"]
)
def test_rows_are_left_as_they_are_where_nothing_is_gained(rows):
    assert isinstance(design_of(rows), Dense)


def test_rows_that_only_look_alike_are_told_apart(monkeypatch):
    keys = torch.zeros(4000, dtype=torch.long)
    monkeypatch.setattr("glmhmm_pyro.designs.repeated._row_codes", lambda rows: keys)
    assert isinstance(design_of(repeating()), Dense)


@pytest.mark.parametrize("with_values", [False, True])
@every_form
def test_steps_that_are_alike_are_put_together(make, with_values):
    design = make().at(torch.arange(7).repeat(20))
    values = torch.arange(140) % 2 if with_values else torch.zeros(140)
    pool = design.pooled(values if with_values else None)
    counts = random(2, 140, 3)
    groups = len(pool.design)
    assert groups == (140 if isinstance(design, Dense) else 6 if with_values else 3)
    total, kept = np.zeros((2, groups, 3)), values[pool.member]
    for group, row in enumerate(pool.design.dense()):
        alike = (design.dense() == row).all(1) & (values == kept[group])
        if groups == 140:
            alike = torch.arange(140) == group
        total[:, group] = counts[:, alike].sum(1)
    close(pool.sums(counts), total)


def test_pools_of_many_groups_are_not_made():
    design = Repeated(ROWS, INDEX.repeat(20))
    pool = design.pooled(random(140))
    assert isinstance(pool.design, Dense) and len(pool.design) == 140
    close(pool.sums(random(1, 140)), random(1, 140))


def test_operators_of_a_data_set_are_its_covariates():
    rows = repeating(steps=3000)
    data = gh.Sequences(
        np.zeros(3000),
        rows,
        lengths=[1000] * 3,
        transition_covariates=normals(3000, 2),
        initial_covariates=normals(3, 1),
    )
    names = ["covariates", "transition_covariates", "initial_covariates"]
    made = [data.operator(name) for name in names]
    assert [type(design) for design in made] == [Repeated, Dense, Dense]
    assert data.operator("covariates") is made[0]
    others = [
        data.subset([2, 0, 0, 2]),
        data.to(torch.float32),
        data.with_mask(np.arange(3000) > 5),
        data.replace(covariates=rows.flip(0)),
        data.add_intercept(["initial_covariates"]),
        gh.Sequences.concatenate([data, data.subset([1])]),
    ]
    for other in [data, *others]:
        for name in names:
            design = other.operator(name)
            close(design.dense(), getattr(other, name))
            assert design.dtype == other.dtype
            assert design.names == getattr(other, f"{name[:-1]}_names")


def test_transitions_share_the_covariates():
    data = gh.Sequences([0, 1, 1], [[0.0], [1.0], [3.0]])
    own = data.subset([0]).add_intercept(["transition_covariates"])
    assert data.operator("transition_covariates") is data.operator("covariates")
    assert own.operator("transition_covariates").shape == (3, 2)
    assert own.operator("covariates").shape == (3, 1)


def test_rows_are_searched_once_and_not_again_in_a_subset(monkeypatch):
    searched = []

    def counting(rows, names):
        searched.append(len(rows))
        return design_of(rows, names)

    monkeypatch.setattr("glmhmm_pyro.sequences.operators.design_of", counting)
    data = gh.Sequences(np.zeros(3000), repeating(steps=3000), lengths=[1000] * 3)
    data.operator("covariates")
    for one in (data, data.subset([0, 2]), data.with_mask(np.arange(3000) > 5)):
        assert isinstance(one.operator("covariates"), Repeated)
        assert isinstance(one.operator("transition_covariates"), Repeated)
    assert searched == [3000]

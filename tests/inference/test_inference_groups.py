"""Groups of sessions in a fit: who is scored by what, in tables, exports and files."""

import numpy as np
import pytest
from arviz_faces import group_of
from made_fits import made_fit, sticky

import glmhmm_pyro as gh

FIRST = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
NAMES, GROUPS, LENGTHS = ["1", "2", "1"], ["rat", "rat", "owl"], [2, 1, 3]
BY_STEP = [group for group, length in zip(GROUPS, LENGTHS) for _ in range(length)]


def sequences(groups=GROUPS, names=NAMES):
    return gh.Sequences(
        [0, 1, 1, 1, 0, 1], lengths=LENGTHS, session_names=names, groups=groups
    )


def fit_of(data, per_session=True):
    params = {
        "initial.probs": FIRST if per_session else FIRST[0],
        "transitions.probs": sticky(2, 0.8),
        "emissions.weights": [[-1.0], [2.0]],
    }
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=per_session))
    return made_fit(model, data, params)


def first_probs(fit, data):
    with fit.model.at(fit.params):
        return fit.model.initial.log_probs(fit.as_fitted(data)).exp().tolist()


def test_parameters_of_a_session_are_those_of_its_animal(tmp_path):
    fit = fit_of(sequences())
    fit.save(tmp_path / "fit.nc")
    for known in (fit, gh.load(tmp_path / "fit.nc")):
        for groups, wanted in ((["owl"], [2]), (["rat"], [0])):
            day = gh.Sequences([0, 1], session_names=["1"], groups=groups)
            np.testing.assert_allclose(
                first_probs(known, day), np.array(FIRST)[wanted], rtol=1e-15
            )
        stranger = gh.Sequences([0, 1], session_names=["1"], groups=["cat"])
        with pytest.raises(ValueError, match="got 1; use Initial"):
            known.score(stranger)
        # Without a group nothing says which of the two animals this is.
        with pytest.raises(ValueError, match="got 1; use Initial"):
            known.score(gh.Sequences([0, 1], session_names=["1"]))


def test_a_fit_tells_its_sessions_groups(tmp_path):
    fit = fit_of(sequences())
    fit.save(tmp_path / "fit.nc")
    for known in (fit, gh.load(tmp_path / "fit.nc")):
        probs = known.parameters["initial.probs"]
        assert probs.session.values.tolist() == ["rat/1", "2", "owl/1"]
        assert probs.group.values.tolist() == GROUPS
        table = known.summary().query("parameter == 'initial.probs' and state == 0")
        assert table.group.tolist() == GROUPS
        assert table.estimate.tolist() == [row[0] for row in FIRST]
    plain = fit_of(sequences(None, ["x", "y", "z"]))
    assert "group" not in plain.parameters["initial.probs"].coords
    assert "group" not in plain.summary()


def test_steps_are_labelled_with_their_groups():
    data = sequences()
    fit = fit_of(data, per_session=False)
    assert fit.decode(data).group.values.tolist() == BY_STEP
    assert fit.predict(data).group.values.tolist() == BY_STEP
    assert fit.decode(data.subset(groups="owl")).group.values.tolist() == ["owl"] * 3
    assert "group" not in fit.decode(sequences(None, ["x", "y", "z"])).coords


def test_simulated_sessions_stay_in_their_groups():
    data = sequences()
    simulated, _ = fit_of(data).simulate(data, num_samples=2)
    assert simulated.groups == tuple(GROUPS * 2)
    assert simulated.session_names[3:] == ("rat/1 (2)", "2 (2)", "owl/1 (2)")


def test_exports_have_the_group_of_every_session():
    data = sequences()
    exported = fit_of(data).to_arviz(data)
    for name in ("log_likelihood", "constant_data"):
        found = group_of(exported, name)
        assert found.group.dims == ("session",)
        assert found.group.values.tolist() == GROUPS
    for name in ("log_likelihood", "posterior_predictive", "observed_data"):
        assert group_of(exported, name).group_of_step.values.tolist() == BY_STEP
    per_session = group_of(exported, "log_likelihood").per_session
    assert (per_session.group == "rat").values.tolist() == [True, True, False]
    plain = sequences(None, ["x", "y", "z"])
    for name in ("posterior", "log_likelihood", "observed_data", "constant_data"):
        found = group_of(fit_of(plain).to_arviz(plain), name)
        assert not {"group", "group_of_step"} & set(found.coords)

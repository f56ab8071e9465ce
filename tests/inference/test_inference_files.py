"""Saving is all or nothing, and what is not a fit's intact file is refused."""

import errno
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from families import Poisson
from inference_cases import clear_data
from torch.distributions import Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.fits import files
from glmhmm_pyro.inference.fits.encoding import decoded, encoded
from glmhmm_pyro.inference.fits.storage import TYPES

GOLDEN = Path(__file__).parents[1] / "golden" / "fits"


@pytest.fixture(scope="module")
def fit():
    return gh.load(GOLDEN / "em.nc")


@pytest.fixture(scope="module")
def other():
    return gh.load(GOLDEN / "nuts.nc")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def same_numbers(fit, loaded):
    return fit.log_joint == loaded.log_joint and all(
        torch.equal(value, loaded.params[name]) for name, value in fit.params.items()
    )


# What stands in a file


def test_every_field_comes_back_as_it_was(tmp_path, fit, other):
    for saved in (fit, other, replace(fit, notes=("a note",), unbounded=("w",))):
        saved.save(tmp_path / "fit.nc")
        loaded = gh.load(tmp_path / "fit.nc")
        for name in ("status", "labels", "notes", "unbounded", "method", "best"):
            assert getattr(loaded, name) == getattr(saved, name)
        arrays, again = {}, {}
        for field in ("params", "restarts", "weights", "posterior"):
            plain = encoded(getattr(saved, field), field, arrays, TYPES)
            assert encoded(getattr(loaded, field), field, again, TYPES) == plain
        assert arrays.keys() == again.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, again[name], strict=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        np.bool_(False),
        np.int64(3),
        -np.inf,
        "name",
        ("a", 1, [2.5, ("b",)]),
        {"a": {"b": ()}},
        gh.Status.STUCK,
        ({"w": torch.zeros(2)}, {"w": torch.ones(2)}),
        ({"w": torch.zeros(2)}, {"w": torch.ones(3)}),
        {"flags": torch.tensor([True, False]), "none": torch.zeros(0, 3)},
    ],
    ids=repr,
)
def test_plain_values_of_every_kind_come_back(tmp_path, value):
    arrays = {}
    files.write_record(
        tmp_path / "a.nc", arrays, {"x": encoded(value, "x", arrays, TYPES)}
    )
    read, facts, version = files.read_record(tmp_path / "a.nc")
    again = decoded(facts["x"], read, TYPES)
    assert (type(again), repr(again)) == (type(value), repr(value)) or (
        isinstance(value, np.generic) and again == value
    )
    assert version == files.FORMAT_VERSION


def test_what_is_no_plain_data_is_refused_by_the_name_of_its_field():
    with pytest.raises(TypeError, match="notes:1 must be plain data.*got a object"):
        encoded(("a", object()), "notes", {}, TYPES)


def test_other_programs_read_the_arrays(tmp_path, fit):
    fit.save(tmp_path / "fit.nc")
    found = xr.load_dataset(tmp_path / "fit.nc", engine="h5netcdf")
    weights = found["param:emissions.weights"].values
    np.testing.assert_array_equal(weights, fit.params["emissions.weights"])


# Damaged files


def test_a_flipped_bit_or_a_cut_never_loads_other_numbers(tmp_path, fit):
    path, rng = tmp_path / "fit.nc", np.random.default_rng(0)
    fit.save(path)
    whole = path.read_bytes()
    places = rng.integers(len(whole), size=100).tolist()
    damaged = [whole[:place] for place in places[:30]]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(content))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path must name a file that fit.save"):
            gh.load(path)


def test_damage_to_the_checksum_itself_is_seen_before_the_library_reads(
    tmp_path, fit, monkeypatch
):
    # Some versions of HDF5 abort the process when they read such a file.
    path = tmp_path / "fit.nc"
    fit.save(path)
    whole = path.read_bytes()
    monkeypatch.setattr("h5py.File", None)
    for length in (90, 200):
        path.write_bytes(whole[:-length] + b"x" * length)
        with pytest.raises(ValueError, match="something after its end that is no che"):
            gh.load(path)


@pytest.mark.parametrize("method", ["em", "nuts"])
def test_a_damaged_file_without_a_checksum_is_refused_in_a_sentence(tmp_path, method):
    whole, rng = (GOLDEN / f"{method}.nc").read_bytes(), np.random.default_rng(1)
    path, refused = tmp_path / "fit.nc", 0
    for place in rng.integers(4000, size=60).tolist():
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        for damaged in (bytes(content), whole[:place]):
            path.write_bytes(damaged)
            try:
                loaded = gh.load(path)
            except ValueError as error:
                assert "path must name a file that fit.save" in str(error)
                refused += 1
            else:
                assert loaded.method == method
    assert refused > 60


@pytest.mark.parametrize(
    "method, change, what",
    [
        ("nuts", lambda d: d.drop_vars("draws:emissions.weights"), "draws are of"),
        (
            "em",
            lambda d: d.assign({"param:initial.probs": 2 * d["param:initial.probs"]}),
            "initial.probs are not all in Simplex",
        ),
    ],
)
def test_an_old_file_that_contradicts_itself_is_refused(tmp_path, method, change, what):
    path = tmp_path / "fit.nc"
    with xr.open_dataset(GOLDEN / f"{method}.nc", engine="h5netcdf") as old:
        change(old.load()).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=f"path must name a file.*{what}"):
        gh.load(path)


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda d: d.drop_vars("param:initial.probs"), "checksum is missing"),
        (lambda d: d.assign_attrs(format_version=3), "has format 3 where.*install"),
        (lambda d: d.assign_attrs(format_version=-1), "its format is -1"),
        (lambda d: d.assign_attrs(format_version="new"), "invalid literal"),
        (lambda d: d.assign_attrs(format="other"), "another kind.*open it by"),
    ],
)
def test_a_file_that_another_program_wrote_is_refused(tmp_path, fit, change, what):
    path = tmp_path / "fit.nc"
    fit.save(path)
    change(xr.load_dataset(path, engine="h5netcdf")).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=f"that fit.save wrote, got .*fit.nc.*{what}"):
        gh.load(path)


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda a, f: f.pop("params"), "it lacks 'params'"),
        (lambda a, f: f.update(best=7), "out of range"),
        (lambda a, f: f.update(log_joint="much"), "could not convert"),
        (lambda a, f: f.update(status={"Status": "FINE"}), "it lacks 'FINE'"),
        (lambda a, f: f.update(status={"os.system": "ls"}), "asks for 'os.system'"),
        (lambda a, f: f["model"].update(num_states=3), "its initial have 2 states"),
        (lambda a, f: a.pop("param:emissions.weights"), "param:emissions.weights"),
        (
            lambda a, f: f["params"]["dict"].pop("emissions.weights"),
            "no values of emissions.weights",
        ),
        (
            lambda a, f: a.update({"param:emissions.weights": np.zeros((2, 5))}),
            r"shape \(2, 5\) where the model has \(2, 6\)",
        ),
    ],
)
def test_facts_that_contradict_each_other_are_refused(tmp_path, fit, change, what):
    path = tmp_path / "fit.nc"
    fit.save(path)
    arrays, facts, _ = files.read_record(path)
    change(arrays, facts)
    files.write_record(path, arrays, facts)
    with pytest.raises(ValueError, match=f"wrote, got .*not intact.*{what}"):
        gh.load(path)


def test_a_field_that_an_older_file_lacks_has_its_default(tmp_path, fit):
    path = tmp_path / "fit.nc"
    replace(fit, notes=("a note",)).save(path)
    arrays, facts, _ = files.read_record(path)
    del facts["notes"]
    files.write_record(path, arrays, facts)
    assert gh.load(path).notes == ()


# Another model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Path of a saved fit, the fit, and its data."""
    data, path = clear_data(lengths=(30, 31)), tmp_path_factory.mktemp("fit") / "fit.nc"
    model = gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 1.0)))
    fit = gh.fit(model, data, num_restarts=1, tol=1e-2, progress=False)
    fit.save(path)
    return path, fit, data


def wider_model():
    model = gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 1.0)))
    model.emissions.num_features = 3
    return model


def own_model(data):
    return None


@pytest.mark.parametrize(
    "made, message",
    [
        (lambda: gh.GLMHMM(3, gh.Bernoulli()), "have 2 states.*got 3"),
        (lambda: gh.GLMHMM(2, gh.Poisson()), "have Bernoulli emissions.*got Poisson"),
        (
            lambda: gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 1.0)), gh.InputDriven()),
            "have Stationary transitions.*got InputDriven",
        ),
        (
            lambda: gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(3.0))),
            r"have emissions with prior = Normal\(loc=0.0, scale=1.0\).* "
            r"got Ridge\(scale=3.0\)",
        ),
        (
            lambda: gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 2.0))),
            r"have .*scale=1.0\).*got Normal\(loc=0.0, scale=2.0\)",
        ),
        (
            lambda: gh.GLMHMM(
                2, gh.Bernoulli(Normal(0.0, 1.0)), gh.Stationary(), gh.InitialGLM()
            ),
            "have Initial initial.*got InitialGLM",
        ),
        (
            lambda: gh.GLMHMM(2, gh.Outputs(y=gh.Bernoulli())),
            "have Bernoulli emissions.*got Outputs",
        ),
        (wider_model, "have emissions with num_features = 2.*got 3"),
        (lambda: own_model, "be a GLMHMM.*got your own 'own_model'"),
        (lambda: "model", "be a GLMHMM.*got your own 'str'"),
    ],
)
def test_a_model_that_is_not_the_saved_one_is_refused(small, made, message):
    path, fit, data = small
    with pytest.raises(ValueError, match=f"model must {message}.*that was fitted"):
        gh.load(path, made())
    for model in (fit.model, gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 1.0)))):
        assert gh.load(path, model).score(data) == fit.score(data)


def test_outputs_priors_and_families_of_the_users_are_compared(tmp_path):
    data = clear_data("poisson", lengths=(30,))
    fit = gh.fit(gh.GLMHMM(1, Poisson()), data, num_restarts=1, progress=False)
    fit.save(tmp_path / "own.nc")
    with pytest.raises(ValueError, match="have Poisson emissions.*got Gaussian"):
        gh.load(tmp_path / "own.nc", gh.GLMHMM(1, gh.Gaussian()))
    data = clear_data(lengths=(30,))
    y = torch.stack([data.emissions, 1 - data.emissions], 1)
    two = data.replace(emissions=y, emission_names=["y0", "y1"])
    own = gh.Bernoulli(lambda shape: Normal(0.0, 1.0).expand(shape))
    outputs = {"y0": own, "y1": gh.Bernoulli()}
    fit = gh.fit(gh.GLMHMM(1, gh.Outputs(**outputs)), two, progress=False)
    fit.save(tmp_path / "two.nc")
    again = gh.load(tmp_path / "two.nc", gh.GLMHMM(1, gh.Outputs(**outputs)))
    assert again.score(two) == fit.score(two)
    others = outputs | {"y1": gh.Poisson()}
    with pytest.raises(ValueError, match="have Bernoulli emissions.y1.*got Poisson"):
        gh.load(tmp_path / "two.nc", gh.GLMHMM(1, gh.Outputs(**others)))
    others = outputs | {"y0": gh.Bernoulli()}
    with pytest.raises(ValueError, match="prior = <lambda> of your own.*got None"):
        gh.load(tmp_path / "two.nc", gh.GLMHMM(1, gh.Outputs(**others)))


# Saving


@pytest.mark.parametrize("path", [None, 3, b"fit.nc", ["fit.nc"]])
def test_a_path_that_is_none_is_refused(fit, path):
    for call in (fit.save, gh.load):
        with pytest.raises(TypeError, match="path must be the path of .*string or a"):
            call(path)


def test_places_where_no_file_can_be_written_are_refused(tmp_path, fit):
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    for path, kind, message in (
        ("", ValueError, "path must be the path of the file to write.*got ''"),
        ("a\0b", ValueError, "path must be the path of the file to write"),
        (tmp_path, IsADirectoryError, "which is a folder; add the name of a file"),
        (f"{tmp_path}/new/", IsADirectoryError, "which is a folder"),
        (
            tmp_path / "no" / "fit.nc",
            FileNotFoundError,
            "no folder .*no; make it first",
        ),
        (tmp_path / "file" / "fit.nc", NotADirectoryError, "no folder .*file; make"),
        (tmp_path / "pipe", OSError, "no ordinary file; give another path"),
    ):
        with pytest.raises(kind, match=message):
            fit.save(path)
    assert names(tmp_path) == ["file", "pipe"]


def test_a_file_that_may_not_be_written_to_is_left_alone(tmp_path, fit, monkeypatch):
    path = tmp_path / "fit.nc"
    path.write_text("precious")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="you may not write to.*change its mode"):
        fit.save(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("failing", ["open", "fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_whole(
    tmp_path, fit, other, monkeypatch, failing, number
):
    path = tmp_path / "fit.nc"
    fit.save(path)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        with pytest.raises(
            OSError, match=f"got {path}: .*is unchanged; give"
        ) as caught:
            other.save(path)
    assert caught.value.errno == number
    assert names(tmp_path) == ["fit.nc"]
    assert same_numbers(fit, gh.load(path))


def test_an_interrupt_while_saving_leaves_the_old_file(
    tmp_path, fit, other, monkeypatch
):
    def interrupt(*args):
        raise KeyboardInterrupt

    fit.save(tmp_path / "fit.nc")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            other.save(tmp_path / "fit.nc")
    assert names(tmp_path) == ["fit.nc"]
    assert same_numbers(fit, gh.load(tmp_path / "fit.nc"))


def forked(function):
    """Run a function in a child process; its number."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def test_a_process_killed_in_the_midst_of_a_save_leaves_the_old_file(
    tmp_path, fit, other, monkeypatch
):
    path = tmp_path / "fit.nc"
    fit.save(path)
    reached, tell = os.pipe()

    def wait_for_the_end(number):
        os.write(tell, b"x")
        signal.pause()

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", wait_for_the_end)
        child = forked(lambda: other.save(path))
    assert os.read(reached, 1) == b"x"
    assert len(names(tmp_path)) == 2  # It was writing beside the old file.
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert same_numbers(fit, gh.load(path))
    other.save(path)
    assert same_numbers(other, gh.load(path))


def test_writers_at_once_never_leave_a_mixture(tmp_path, fit, other):
    path = tmp_path / "fit.nc"
    fit.save(path)

    def save_often():
        for number in range(6):
            (fit if number % 2 else other).save(path)

    children = [forked(save_often) for _ in range(3)]
    for _ in range(20):
        loaded = gh.load(path)
        assert same_numbers(fit if loaded.method == "em" else other, loaded)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert names(tmp_path) == ["fit.nc"]


def test_links_and_permissions_stay(tmp_path, fit):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real, link = folder / "fit.nc", tmp_path / "link.nc"
    link.symlink_to(real)
    fit.save(link)
    assert link.is_symlink() and same_numbers(fit, gh.load(real))
    usual = folder / "usual"
    usual.touch()
    assert stat.S_IMODE(real.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    for mode in (0o600, 0o664, 0o640):
        real.chmod(mode)
        fit.save(link)
        assert stat.S_IMODE(real.stat().st_mode) == mode
    assert link.is_symlink() and names(tmp_path) == ["elsewhere", "link.nc"]


def test_a_tilde_is_the_home_folder(tmp_path, fit, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fit.save("~/fit.nc")
    assert names(tmp_path) == ["fit.nc"]
    assert same_numbers(fit, gh.load("~/fit.nc"))

"""The package as installed."""

import glmhmm_pyro
from glmhmm_pyro.version import __version__


def test_the_package_is_typed_and_has_a_version():
    assert __version__.count(".") == 2
    assert glmhmm_pyro.__doc__

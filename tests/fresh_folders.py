"""A home folder and caches for one run of the tests alone, shared by its workers.

Imported before anything that reads them, so that no test depends on what the user's
home folder holds, nor leaves anything in it.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Where libraries and kernels look for settings and caches, below the home folder.
_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
}


def make_fresh_folders() -> None:
    """Let this process, and all that it starts, live in a folder of its own.

    The workers of pytest-xdist are started by a process that has done so before. numba
    keeps compiled kernels beside the sources, or where NUMBA_CACHE_DIR says.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    home = Path(tempfile.mkdtemp(prefix="glmhmm-tests-"))
    atexit.register(_remove, home, os.getpid())
    for name, folder in _FOLDERS.items():
        (home / folder).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(home / folder)
    # Notebooks draw inline, tests draw as they say.
    os.environ.pop("MPLBACKEND", None)


def _remove(home: Path, owner: int) -> None:
    """Remove the folder where it was made, and not in a process forked from there."""
    if os.getpid() == owner:
        shutil.rmtree(home, ignore_errors=True)


make_fresh_folders()

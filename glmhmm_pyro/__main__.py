"""``python -m glmhmm_pyro``, and the command ``glmhmm``."""

try:
    import click  # noqa: F401
except ModuleNotFoundError as error:
    raise SystemExit(
        "the command line needs click, which is not installed: "
        "pip install 'glmhmm_pyro[cli]'"
    ) from error

from glmhmm_pyro.command_line.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    main()

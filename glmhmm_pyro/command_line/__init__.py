"""The command line: a study in a TOML file, fitted, decoded and drawn."""

from glmhmm_pyro.command_line.study_files import StudyFile, read_study

__all__ = ["StudyFile", "read_study"]

"""The kinds of programs, of a ``GLMHMM`` and of the user's own; their starts."""

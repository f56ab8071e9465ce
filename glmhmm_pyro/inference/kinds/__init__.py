"""The kinds of programs: of a ``GLMHMM``, and of models of the user's own."""

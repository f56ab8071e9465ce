"""Files in which chains note where they are, and from which they go on."""

import os
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from glmhmm_pyro.inference import journal
from glmhmm_pyro.inference.nuts.sampler import Sampler


class ChainFile:
    """Where one chain notes its state, every few seconds, whole or not at all.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._due = monotonic() + journal.EVERY

    def read(self) -> dict[str, Any] | None:
        """What was noted last, if anything; nothing in a file is executed."""
        if not self.path.exists():
            return None
        known: dict[str, Any] = torch.load(self.path, weights_only=True)
        return known

    def write(self, state: dict[str, Any]) -> None:
        """Note a state."""
        beside = self.path.with_suffix(".tmp")
        torch.save(state, beside)
        os.replace(beside, self.path)

    def note(self, sampler: Sampler) -> None:
        """Note where the sampler is, if it is time."""
        before = monotonic()
        if before >= self._due:
            self.write(sampler.state())
            self._due = monotonic() + journal.pause(before)

"""A design whose rows stay on disk, of which a block at a time is read."""

from os import PathLike, fspath
from os.path import exists, splitext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.designs.streamed import Streamed

# Numbers of a block of an array: 32 megabytes of them.
_BLOCK_NUMBERS = 1 << 22


class Rows(Protocol):
    """What has rows and gives stretches of them, such as ``np.memmap``, zarr, HDF5."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(steps, features)."""

    def __getitem__(self, rows: slice) -> Any:
        """Some rows, as an array."""


class Blocks(Streamed):
    """Rows on disk, or wherever they are, read a block at a time.

    One block is kept, so that memory does not grow with the steps. A path is opened
    anew in every process; what is opened by a caller goes to others as pickle sends it.

    Args:
        source: path of an array (``.npy``), a folder of zarr (``.zarr``) or a table
            (``.parquet``, a block being a row group), of which the last two need the
            extra ``disk``; or an array (steps, features) of numpy, zarr or HDF5.
        names: of the columns; of a table, those that are read, all by default.
        dtype: floating type of the numbers as they are read.

    Raises:
        ValueError: the source is of no such kind, or has not two axes.

    Example:
        >>> import numpy as np, tempfile, os
        >>> from glmhmm_pyro.designs import Blocks
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "cues.npy")
        ...     np.save(path, np.ones((5, 2)))
        ...     Blocks(path, names=("left", "right")).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        source: str | PathLike | Rows,
        names: tuple[str, ...] | list[str] | None = None,
        dtype: torch.dtype = torch.float64,
    ):
        self.path = fspath(source) if isinstance(source, str | PathLike) else None
        self.wanted = None if names is None else list(names)
        self._opened: Any = None if self.path is not None else source
        rows = self._rows()
        if len(rows.shape) != 2:
            raise ValueError(
                f"source must have shape (steps, features), got {tuple(rows.shape)}; "
                "give a single column as (steps, 1)"
            )
        self.shape, self.dtype = torch.Size(rows.shape), dtype
        self.device = torch.device("cpu")
        own = getattr(rows, "names", None) if names is None else tuple(names)
        self.names = own
        self.edges = np.asarray(getattr(rows, "edges", _even(rows)))
        self._kept: tuple[int, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the block that is kept, and without what a path opened."""
        state = self.__dict__ | {"_kept": None}
        return state if self.path is None else state | {"_opened": None}

    def _rows(self) -> Any:
        if self._opened is None:
            self._opened = _opened(self.path or "", self.wanted)
        return self._opened

    def _block(self, number: int) -> Tensor:
        """Rows between two edges."""
        if self._kept is None or self._kept[0] != number:
            start, stop = self.edges[number : number + 2].tolist()
            rows = np.array(self._rows()[start:stop])
            self._kept = number, torch.as_tensor(rows).to(self.dtype)
        return self._kept[1]

    def read(self, steps: slice | Tensor) -> Tensor:
        """Rows of the blocks in which they stand, each of which is read once."""
        if isinstance(steps, slice):
            start, stop, _ = steps.indices(len(self))
            last = int(np.searchsorted(self.edges, stop, "left"))
            first = int(np.searchsorted(self.edges, start, "right")) - 1
            pieces = [
                self._block(n)[max(start - self.edges[n], 0) : stop - self.edges[n]]
                for n in range(first, last)
            ]
            return torch.cat(pieces) if pieces else self._block(0)[:0]
        found = torch.empty(len(steps), self.shape[1], dtype=self.dtype)
        block = np.searchsorted(self.edges, steps.numpy(), "right") - 1
        for number in np.unique(block).tolist():
            own = torch.from_numpy(block == number)
            found[own] = self._block(number)[steps[own] - int(self.edges[number])]
        return found


def _even(rows: Rows) -> np.ndarray:
    """Edges of blocks of an array."""
    steps, features = rows.shape
    size = max(1, _BLOCK_NUMBERS // max(features, 1))
    return np.array([*range(0, steps, size), steps])


def _opened(path: str, columns: list[str] | None) -> Any:
    """What has the rows, by the end of a path."""
    ending = splitext(path.rstrip("/"))[1]
    if ending not in (".npy", ".zarr", ".parquet"):
        raise ValueError(
            f"source must be a path that ends in .npy, .zarr or .parquet, got {path!r}"
            "; give such a one, or the array itself"
        )
    if not exists(path):
        raise FileNotFoundError(
            f"source must be a path that there is, got {path!r}; correct it, or write "
            "the array there first"
        )
    if ending == ".npy":
        return np.load(path, mmap_mode="r")
    if ending == ".zarr":
        import zarr

        return zarr.open_array(path, mode="r")
    return _RowGroups(path, columns)


class _RowGroups:
    """The rows of a parquet table, a row group being a block.

    Args:
        path: of the table.
        columns: those that are read, all by default.
    """

    def __init__(self, path: str, columns: list[str] | None):
        from pyarrow.parquet import ParquetFile

        self.file = ParquetFile(path)
        self.names = tuple(columns or self.file.schema_arrow.names)
        meta = self.file.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self.edges = np.cumsum([0, *sizes])
        self.shape = (meta.num_rows, len(self.names))

    def __getitem__(self, rows: slice) -> np.ndarray:
        """A row group, by its edges."""
        number = int(np.searchsorted(self.edges, rows.start))
        table = self.file.read_row_group(number, columns=list(self.names))
        return np.column_stack([table[name].to_numpy() for name in self.names])

"""What the tables of embedding versions need of a database, whichever it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PATIENCE = 30.0
"""Seconds a locked database is waited for."""


class Locked(TimeoutError):
    """The database stayed locked; the job is worth a retry."""


class Session(Protocol):
    """An open connection to a store, for the tables of versions; statements have ``?`` for parameters."""

    blob: str
    """Type of a column with bytes."""

    @property
    def active_if(self) -> str:
        """Expression that tells whether a row's id is the parameter, as embedding_versions.is_active keeps it."""
        ...

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Be the one writer while the block runs; all of it is committed, or nothing."""
        ...

    def columns(self, table: str) -> list[str]:
        """Return the columns of a table, none where there is no such table."""
        ...

    def last_given(self, table: str) -> int:
        """Return the last id that a table which numbers its rows itself says it gave; 0 where it says nothing."""
        ...

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows."""
        ...

    def vectors(self, matrix: npt.NDArray[np.float32]) -> Iterator[Any]:
        """Yield the rows of a matrix as ``load`` takes them for embeddings."""
        ...

    def migration(self) -> list[str]:
        """Return the statements that make the tables ready for versions side by side; none where they are.

        Raises RuntimeError when a version does not fit into them, or a unique key cannot be changed.
        """
        ...

    def prepare(self) -> None:
        """Make the tables ready for versions side by side; raises RuntimeError when a key cannot be changed."""
        ...

    def broken_references(self) -> Counter[str]:
        """Return how many rows refer to rows that are not there, by what they are; none where that cannot be."""
        ...

    def free_space(self) -> str:
        """Return how the space of removed rows is given back."""
        ...

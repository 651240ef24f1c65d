"""The seam to whatever runs a language model: what a scorer offers, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

from suite.errors import unknown_name
from suite.score.sheet import Scores, Sheet
from suite.score.store import ShardStore
from suite.score.subject import Subject
from suite.score.transformers.network import NetworkScorer


class Scorer(Protocol):
    """A variant of a model, ready to be asked.

    Attributes:
        name, version: which scorer it is; the version rises whenever scores may change.
        model, variant: sections of the metadata of its cells; both have a ``name`` at least.
        tokenizer: what renders chat prompts (``chat_template``, ``apply_chat_template``); None where there is none.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def model(self) -> Mapping[str, Any]: ...

    @property
    def variant(self) -> Mapping[str, Any]: ...

    @property
    def tokenizer(self) -> Any: ...

    @classmethod
    def of(cls, subject: Subject) -> Self:
        """The subject, loaded.

        Raises:
            CellFailure: a variant that cannot be made or that this scorer does not run; others may be fine.
            SuiteError: a model that cannot be loaded.
        """
        ...

    def scores(
        self, sheet: Sheet, *, shards: ShardStore | None = None, progress: Callable[[int], object] | None = None
    ) -> Scores:
        """Scores of every text of a sheet, in order.

        Args:
            sheet: texts as the model is to see them, in its chat template already where the prompt asks for it.
            shards: where finished parts may be kept, so that an interrupted cell goes on; None to keep nothing.
            progress: called with the number of texts just finished.

        Raises:
            CellFailure: it cannot score these texts, such as for want of memory.
            SuiteError: it cannot take this scoring or prompt.
        """
        ...


BACKENDS: dict[str, type[Scorer]] = {
    "transformers": NetworkScorer,
}
"""Scorers by name, each in a file beside this one. A cell that names none is of the first."""

DEFAULT = next(iter(BACKENDS))


def backend(name: str) -> type[Scorer]:
    """The scorer of that name.

    Raises:
        SuiteError: there is none.
    """
    if name not in BACKENDS:
        raise unknown_name("scorer", name, BACKENDS)
    return BACKENDS[name]


def key_parts(name: str) -> dict[str, Any]:
    """What a cell's numbers depend on, as far as the scorer goes."""
    version = {"engine": backend(name).version}
    return version if name == DEFAULT else {**version, "scorer": name}


def ran_by(scorer: Scorer) -> dict[str, Any]:
    """Name and version of a scorer for the `run` section of a cell; nothing for the first one."""
    return {} if scorer.name == DEFAULT else {"scorer": {"name": scorer.name, "version": scorer.version}}

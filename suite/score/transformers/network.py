"""A network of the transformers library as a scorer: texts in, option scores out, and what they were computed with."""

from __future__ import annotations

import hashlib
import pathlib
import platform
import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from suite.errors import CellFailure
from suite.models.checkpoint import Checkpoint
from suite.score.sheet import Scores, Sheet
from suite.score.store import ShardStore
from suite.score.subject import Subject
from suite.score.transformers import engine
from suite.score.transformers.again import scored_again
from suite.score.transformers.drift import Drift, compare, in_float32
from suite.score.transformers.encode import Encoded, encode
from suite.score.transformers.fused_norms import fused_norms
from suite.score.transformers.kept_start import SharedPrefix
from suite.score.transformers.pack import Batch, forwarded_tokens, plan_batches
from suite.score.transformers.path import Path, path_of, sharing_refused
from suite.score.transformers.side_by_side import at_once, read_in_order

CPU_TOKEN_BUDGET = 2048
ACCELERATOR_TOKEN_BUDGET = 16384
DRIFT_ITEMS = 8
_SHARD_BATCHES = 4
_CPUINFO = pathlib.Path("/proc/cpuinfo")


@dataclass(frozen=True)
class NetworkScorer:
    """Networks of the transformers library in memory; see `suite.score.scorer.Scorer`.

    Attributes:
        checkpoint: the model, already compressed.
        variant: the `variant` section of its cells; when left out, that of the model as it is.
        way: ``tree``, ``plain``, ``single``, or ``auto`` for what the network takes (see `transformers.path`).
        token_budget: padded tokens in one batch, None for the device's default.
        drift: compare a handful of items with float32 when the run is in 16 bits.
        again: score once more under other conditions (see `transformers.again`).
    """

    name: ClassVar[str] = "transformers"
    version: ClassVar[int] = 2

    checkpoint: Checkpoint
    variant: Mapping[str, Any] = field(default_factory=lambda: {"name": "dense"})
    _: KW_ONLY
    way: str = "auto"
    token_budget: int | None = None
    drift: bool = True
    again: bool = False

    @property
    def model(self) -> Mapping[str, Any]:
        """The `model` section of its cells."""
        return self.checkpoint.info

    @property
    def tokenizer(self) -> Any:
        """The model's own."""
        return self.checkpoint.tokenizer

    @property
    def batch_tokens(self) -> int:
        """Padded tokens in one batch."""
        on_cpu = self.checkpoint.device.type == "cpu"
        return self.token_budget or (CPU_TOKEN_BUDGET if on_cpu else ACCELERATOR_TOKEN_BUDGET)

    @classmethod
    def of(cls, subject: Subject) -> NetworkScorer:
        """The subject as a network in memory; its batches have the size that the run directory remembers, if any."""
        from suite.score.transformers.budget import measure_budget

        checkpoint, variant = subject.network()
        budget = None
        if subject.remembered is not None:
            budget = subject.remembered(checkpoint.info["weights_hash"], lambda: measure_budget(checkpoint.network))
        return cls(checkpoint, variant, way=subject.way, token_budget=budget, again=subject.variant.again)

    def scores(
        self, sheet: Sheet, *, shards: ShardStore | None = None, progress: Callable[[int], object] | None = None
    ) -> Scores:
        """Log-likelihoods (cloze) or logits (letter) of every text's options.

        Raises:
            CellFailure: memory that ran out.
            SuiteError: a tokenizer that cannot take this scoring, or a full disk.
        """
        if self.again:
            usual = replace(self, again=False, token_budget=max(1, self.batch_tokens // 2))
            return scored_again(partial(usual.scores, shards=shards, progress=progress), sheet)
        checkpoint, network = self.checkpoint, self.checkpoint.network
        path = _path(network) if self.way == "auto" else Path(self.way)
        letter = sheet.scoring == "letter"
        encoded = encode(
            checkpoint.tokenizer,
            sheet.rendered,
            # a chat template says itself whether a text starts with BOS
            bos=None if sheet.name.chat else checkpoint.bos,
            max_length=min(
                int(getattr(network.config.get_text_config(), "max_position_embeddings", 1 << 30)),
                sheet.task.window or 1 << 30,
            ),
            single_token=letter,
        )
        for index, item in zip(sheet.asked, encoded, strict=True):
            fed = chain(item.prefix, *(branch[:-1] for branch in item.branches))
            checkpoint.check_tokens(fed, f"item {sheet.questions[index].id}", predicted=chain(*item.branches))
        plan = partial(plan_batches, encoded, backend=path.backend, budget=self.batch_tokens, limit=path.limit)
        planned = plan()
        if self.way == "auto" and any(batch.shared for batch in planned) and (refused := sharing_refused(network)):
            planned = plan(sharing=False)
            path = replace(path, remarks=(*path.remarks, f"the start that contexts share is not kept: {refused}"))
        reader = _Reader(network, path.backend, engine.option_logits if letter else engine.log_likelihoods)
        if shards:
            shards = shards.within(_plan_hash(encoded, planned))
        moved = None
        workers = at_once(network, len(planned))
        with fused_norms(network):
            scores = _read_all(reader, encoded, planned, shards, progress, workers)
            # scores that are not finite fail the cell
            if self.drift and checkpoint.dtype != "float32" and all(np.isfinite(values).all() for values in scores):
                moved = _drift(reader, sheet, encoded, planned, scores)
        forwarded = forwarded_tokens(encoded, planned, backend=path.backend, letters=letter)
        run = _run_info(checkpoint, path, encoded, forwarded, self.batch_tokens)
        run["batches_at_once"] = workers
        run["notes"] = _remarks(checkpoint, path, planned)
        run["drift"] = asdict(moved) if moved else None
        return Scores(scores, run)


def _path(network: Any) -> Path:
    try:
        return path_of(network)
    except (MemoryError, RuntimeError) as error:
        if not engine.out_of_memory(error):
            raise
        raise CellFailure("out of memory on two small items; the model needs more memory than there is") from error


def _read_all(
    reader: _Reader,
    encoded: Sequence[Encoded],
    planned: Sequence[Batch],
    shards: ShardStore | None,
    progress: Callable[[int], object] | None,
    workers: int,
) -> list[NDArray[np.float64]]:
    """Scores of every text, in order; finished parts are taken from the store and new ones put there."""
    scores: list[NDArray[np.float64]] = [np.empty(0)] * len(encoded)
    parts = [planned[first : first + _SHARD_BATCHES] for first in range(0, len(planned), _SHARD_BATCHES)]
    texts = [[index for batch in members for index in batch.items] for members in parts]
    stored = [
        shards.read(number, [len(encoded[index].branches) for index in indices]) if shards else None
        for number, indices in enumerate(texts)
    ]
    missing = [batch for members, done in zip(parts, stored, strict=True) if done is None for batch in members]

    def read(batch: Batch, start: SharedPrefix | None) -> list[NDArray[np.float64]]:
        return reader.read([encoded[index] for index in batch.items], start, alone=batch.alone)

    with closing(read_in_order(missing, reader.start, read, workers)) as found:
        for number, (members, indices, done) in enumerate(zip(parts, texts, stored, strict=True)):
            if done is None:
                done = []
                for batch in members:
                    done.extend(next(found))
                    if progress:
                        progress(len(batch.items))
                if shards:
                    shards.write(number, done)
            elif progress:
                progress(len(indices))
            for index, values in zip(indices, done, strict=True):
                scores[index] = values
    return scores


def _plan_hash(encoded: Sequence[Encoded], planned: Sequence[Batch]) -> str:
    """Which tokens are in which shard: finished parts of another plan are of no use."""
    digest = hashlib.sha256()
    for batch in planned:
        digest.update(repr([(index, encoded[index]) for index in batch.items]).encode())
    return digest.hexdigest()[:16]


class _Reader:
    """Forward passes; a batch that memory does not hold is halved."""

    def __init__(self, network: Any, backend: str, function: Callable[..., list[NDArray[np.float64]]]) -> None:
        self.network, self.backend, self.function = network, backend, function

    def start(self, tokens: tuple[int, ...]) -> SharedPrefix:
        try:
            return engine.encode_prefix(self.network, tokens)
        except (MemoryError, RuntimeError) as error:
            if not engine.out_of_memory(error):
                raise
            raise CellFailure(
                f"out of memory on the {len(tokens)} tokens that contexts start with; "
                "the model needs more memory than there is"
            ) from error

    def read(
        self, items: list[Encoded], shared: SharedPrefix | None, *, alone: bool = False
    ) -> list[NDArray[np.float64]]:
        import torch

        try:
            backend = "single" if alone else self.backend
            return self.function(self.network, items, backend=backend, shared=shared)
        except (MemoryError, RuntimeError) as error:
            if not engine.out_of_memory(error):
                raise
            if len(items) == 1:
                raise CellFailure(
                    "out of memory on a single item; the model needs more memory than there is"
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(items) // 2
        return [*self.read(items[:half], shared), *self.read(items[half:], shared)]


def _drift(
    reader: _Reader,
    sheet: Sheet,
    encoded: Sequence[Encoded],
    planned: Sequence[Batch],
    scores: Sequence[NDArray[np.float64]],
) -> Drift:
    """The cell's own scores against float32 on a fixed handful of its items: those whose hashed id is smallest."""
    ids = [sheet.questions[owner].id for owner in sheet.asked]
    ranked = sorted(range(len(encoded)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())
    apart = {index for batch in planned if batch.alone for index in batch.items}
    handful = sorted(ranked[:DRIFT_ITEMS], key=lambda index: index in apart)
    together = [encoded[index] for index in handful if index not in apart]
    alone = [encoded[index] for index in handful if index in apart]
    with in_float32(reader.network):
        reference = reader.read(together, None) if together else []
        reference += reader.read(alone, None, alone=True) if alone else []
    return compare([scores[index] for index in handful], reference)


def _remarks(checkpoint: Checkpoint, path: Path, planned: Sequence[Batch]) -> list[str]:
    """What a reader of the cell must know of the way it was scored."""
    remarks = list(path.remarks)
    network = checkpoint.network
    if network.config.get_text_config()._attn_implementation == "eager":
        name = type(network).__name__
        remarks.append(f"attention is computed step by step (eager): {name} has no other form that is right")
    if long := sum(batch.alone for batch in planned):
        remarks.append(
            f"{long} items longer than {path.limit} tokens are scored one sequence at a time: beyond that length this "
            "architecture's numbers depend on what else is in a row or a batch"
        )
    if assumed := checkpoint.info.get("pre_tokenizer_assumed"):
        remarks.append(f"the GGUF file names no pre-tokenizer (tokenizer.ggml.pre): {assumed} is taken")
    return remarks


def _processor() -> str | None:
    """What the processor calls itself, where the system says so."""
    with suppress(OSError), _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _run_info(
    checkpoint: Checkpoint, path: Path, encoded: Sequence[Encoded], forwarded: int, budget: int
) -> dict[str, Any]:
    import torch

    device = checkpoint.device
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    return {
        "dtype": checkpoint.dtype,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "processor": _processor(),
        "kernels": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "threads": torch.get_num_threads(),
        "backend": path.backend,
        "attention": checkpoint.network.config.get_text_config()._attn_implementation,
        "token_budget": budget,
        "tokens": forwarded,
        "truncated_items": sum(item.truncated > 0 for item in encoded),
        "peak_memory_mb": round(peak, 1),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }

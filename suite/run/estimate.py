"""What a run will take, before anything is fetched or scored: cells, tokens, memory, hours, and what it can decide.

Everything here is an estimate from stated assumptions; nothing of it enters a result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suite.cell import CellKey
from suite.config import ReadyMade, RunConfig, TaskChoice
from suite.errors import MissingData
from suite.hub import is_here
from suite.metrics.paired import minimum_detectable
from suite.models.model import EMBEDDED, Model, is_hub_id, resolve_model, runs_along, tensor_sizes
from suite.prompt_name import parse_prompt
from suite.run.plan import check_names, chosen, sheet_of
from suite.score.prompt import check_style
from suite.score.transformers.workload import CHARACTERS, Workload, workload
from suite.tasks import TASKS
from suite.variant import parse_variant

EFFICIENCY = 0.5
"""Share of the measured speed of matrix products that a forward pass reaches."""

HEADROOM = 1.25
"""Memory over that of the weights: activations of a batch, the logits, buffers of a compression method."""

DISCORDANT = 0.2
"""Share of items whose answer flips under compression, for the smallest change of accuracy."""

SET_SIZE_SD = 2 / 3
"""Standard deviation of the paired change of set size an item, averaged over splits, for each option beyond the first:
measured at four options (2.0, which is 0.10 on the mean of 400 items) and at two (0.7)."""

# the last two are the names in a GGUF file
_VOCABULARY = re.compile(
    r"\b(embed_tokens|wte|word_embeddings|embed_in|lm_head|embed_out)\.weight$|^(token_embd|output)\.weight$"
)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class CellEstimate:
    """One cell.

    Attributes:
        label: model/task/variant.
        path: its file below a run directory.
        scoring: how the options are read.
        items: None where the task's data is not here and no limit is set.
        tokens: that go through the model, None where the task's data is not here.
        gigabytes: memory of the model while it is scored, None where its size is unknown.
        flops: of the forward passes, None where tokens or size are unknown.
    """

    label: str
    path: Path
    scoring: str
    items: int | None
    tokens: float | None
    gigabytes: float | None
    flops: float | None


@dataclass(frozen=True)
class Estimate:
    """A run.

    Attributes:
        remarks: what could not be known.
        detectable: task, items, and the smallest changes of accuracy and set size that these show.
        to_fetch: gigabytes of each checkpoint that is not here, None where its size is unknown.
        apart: how many times the tokens are forwarded where every option gets its own copy of the context, over the
            cells of models of which only trying can say so; None where there are none.
    """

    cells: tuple[CellEstimate, ...]
    remarks: tuple[str, ...]
    detectable: tuple[tuple[str, int, float, float], ...]
    to_fetch: Mapping[str, float | None]
    apart: float | None = None

    def lines(self) -> list[str]:
        """One line a cell."""
        return [
            "\t".join(
                [
                    cell.label,
                    cell.scoring,
                    "? items" if cell.items is None else f"{cell.items} items",
                    "? tokens" if cell.tokens is None else f"{cell.tokens:.0f} tokens",
                    "? GB" if cell.gigabytes is None else f"{cell.gigabytes:.1f} GB",
                ]
            )
            for cell in self.cells
        ]

    def summary(self, gflops: float | None) -> list[str]:
        """Totals, the smallest effects, and the assumptions behind both.

        Args:
            gflops: speed of matrix products on the machine that will score, in 10^9 operations a second.
        """
        items = sum(cell.items or 0 for cell in self.cells)
        tokens = [cell.tokens for cell in self.cells if cell.tokens is not None]
        flops = [cell.flops for cell in self.cells if cell.flops is not None]
        sizes = [cell.gigabytes for cell in self.cells if cell.gigabytes is not None]
        lines = [f"{len(self.cells)} cells, {items} items"]
        counted = "tokens unknown"
        if tokens:
            counted = f"about {sum(tokens):.3g} tokens{self._of(tokens)}"
            counted += f" (characters / {CHARACTERS}; a start that texts share counts once)"
        memory = f"at most {max(sizes):.1f} GB a model (weights x {HEADROOM:g})" if sizes else "memory unknown"
        lines.append(f"{counted}, {memory}")
        if gflops and flops:
            hours = sum(flops) / (gflops * 1e9 * EFFICIENCY) / 3600
            lines.append(
                f"about {hours:.2g} hours of scoring here{self._of(flops)}: 2 x parameters x tokens / ({gflops:.0f} "
                f"GFLOP/s measured x {EFFICIENCY:g}); loading and compressing come on top"
            )
        if self.apart and self.apart > 1:
            lines.append(
                f"up to {self.apart:.2g} times these tokens and hours where an architecture gives every option its own "
                "copy of the context, which is found by trying when a model is loaded (docs/scoring.md)"
            )
        if self.to_fetch:
            known = [size for size in self.to_fetch.values() if size is not None]
            of = "" if len(known) == len(self.to_fetch) else f", {len(self.to_fetch) - len(known)} of unknown size"
            lines.append(
                f"at most {sum(known):.1f} GB to fetch and keep on disk (16 bits a weight): {len(self.to_fetch)} "
                f"checkpoints that are not here{of}"
            )
        for task, n, accuracy, size in self.detectable:
            lines.append(
                f"smallest change found in 80 of 100 runs, {task}, n = {n}: accuracy {accuracy:.3f}, "
                f"set size {size:.2f}"
            )
        if self.detectable:
            lines.append(
                f"  2.8 standard errors at level 0.05 before any adjustment for the number of curves; accuracy: "
                f"sqrt({DISCORDANT:g} / n), {DISCORDANT:.0%} of answers flipping; "
                f"set size: {SET_SIZE_SD:.2f} x (options - 1) / sqrt(n)"
            )
        return lines + [f"remark: {remark}" for remark in self.remarks]

    def _of(self, known: Sequence[float]) -> str:
        return "" if len(known) == len(self.cells) else f" in the {len(known)} cells that can be counted"


def estimate(config: RunConfig, *, only: str | None = None) -> Estimate:
    """Estimate a run without fetching a model.

    Args:
        only: a glob over ``model/task/variant`` or over any one of the three.

    Raises:
        SuiteError: a name that is not there (a hub model's is taken on trust), a method this version lacks, or a glob
            that matches nothing.
    """
    check_names(config, config.dtype)
    remarks: list[str] = []
    # the most that any of them takes
    width = 4 if "float32" in (config.dtype, *(parse_variant(name).dtype for name in config.variants)) else 2
    asked = [_task(choice, remarks) for choice in config.tasks]
    cells: list[CellEstimate] = []
    fetched: dict[str, tuple[float | None, set[str]]] = {}
    untried: list[tuple[str, Workload]] = []
    for name in config.models:
        label, size = _model(name, remarks)
        local = _local(name)
        alone = local is not None and runs_along(local)
        if alone:
            remarks.append(
                f"model {name}: layers that are no attention, so every option gets its own copy of the context"
            )
        gigabytes = None if size is None else size.total * width * HEADROOM / 1e9
        for entry in config.variants_of(name):
            # a ready-made checkpoint has its parent's shape, and memory holds one of them at a time
            variant = entry if isinstance(entry, str) else _ready_made(entry, remarks)
            for one in asked:
                work = one.work and (replace(one.work, tokens=one.work.apart) if alone else one.work)
                flops = None if size is None or work is None else _flops(size, work)
                tokens = None if work is None else work.tokens
                path = CellKey(label, one.name, one.scoring, one.prompt, one.shots, variant).path("")
                cells.append(
                    CellEstimate(
                        f"{label}/{one.name}/{variant}", path, one.scoring, one.items, tokens, gigabytes, flops
                    )
                )
                if work is not None and not alone:
                    untried.append((cells[-1].label, work))
            for source in (name, *([entry.checkpoint] if isinstance(entry, ReadyMade) else [])):
                if _is_elsewhere(source):
                    of = {cell.label for cell in cells[-len(asked) :]}
                    known = None if size is None else size.total * 2 / 1e9
                    fetched.setdefault(source, (known, set()))[1].update(of)
    taken = chosen(cells, only)
    labels = {cell.label for cell in taken}
    to_fetch = {source: size for source, (size, of) in fetched.items() if of & labels}
    works = [work for label, work in untried if label in labels]
    apart = sum(work.apart for work in works) / sum(work.tokens for work in works) if works else None
    return Estimate(tuple(taken), tuple(dict.fromkeys(remarks)), tuple(_detectable(asked)), to_fetch, apart)


def smallest_changes(n: int, options: float) -> tuple[float, float]:
    """The smallest true changes of accuracy and set size that n paired items show in 80 of 100 runs.

    Args:
        options: of an item, on average. Set sizes spread in proportion to the options beyond the first.

    >>> [round(value, 3) for value in smallest_changes(400, 4)]
    [0.063, 0.28]
    """
    spread = SET_SIZE_SD * (options - 1)
    return minimum_detectable(math.sqrt(DISCORDANT / n)), minimum_detectable(spread / math.sqrt(n))


def _detectable(asked: Sequence[_Asked]) -> list[tuple[str, int, float, float]]:
    known = {one.name: (one.items, one.options) for one in asked if one.items}
    found = [(name, n, *smallest_changes(n, options)) for name, (n, options) in known.items()]
    if len(found) > 1:
        # the mean over tasks: variances add up, and are divided by the number of tasks squared
        accuracy = math.hypot(*(line[2] for line in found)) / len(found)
        size = math.hypot(*(line[3] for line in found)) / len(found)
        found.append(("average over tasks", sum(n for n, _ in known.values()), accuracy, size))
    return found


@dataclass(frozen=True)
class _Size:
    """Parameters of a model: all, and of them those that every token is multiplied by and those of the head alone.

    A size read from a name says nothing of the parts, so all of it counts for every token.
    """

    total: float
    body: float
    head: float = 0.0


def _flops(size: _Size, work: Workload) -> float:
    return 2 * (size.body * work.tokens + size.head * work.read)


def _local(name: str) -> Model | None:
    """The model of that name where it is here, None where the hub or the file's maker has it still."""
    if name in EMBEDDED or Path(name).exists() or not is_hub_id(name):
        return resolve_model(name)
    return None


def _is_elsewhere(name: str) -> bool:
    """Whether a run fetches a checkpoint from the hub."""
    if _local(name) is not None or name.endswith(".gguf"):
        return False
    repository, _, revision = name.partition("@")
    return not is_here(repository, revision or None)


def _ready_made(entry: ReadyMade, remarks: list[str]) -> str:
    """How results will name a checkpoint that was made elsewhere; its own name where only the checkpoint can say."""
    from suite.compress.ready_made import variant_of

    model = _local(entry.checkpoint)
    if model is not None:
        return variant_of(model, entry.variant).name
    if entry.variant is not None:
        return parse_variant(entry.variant).name
    name = entry.checkpoint.partition("@")[0].rpartition("/")[2]
    remarks.append(
        f"checkpoint {entry.checkpoint}: is not here yet and says itself which variant it is, so {name} stands for that"
    )
    return name


def _model(name: str, remarks: list[str]) -> tuple[str, _Size | None]:
    """How results will name a model, and its parameters."""
    model = _local(name)
    if model is not None:
        return model.name, _counted(model.path)
    label = name.partition("@")[0].rpartition("/")[2].removesuffix(".gguf")
    if name.endswith(".gguf"):
        remarks.append(f"model {name}: no such file yet, so its name says its size")
    found = _SIZE.findall(label)
    if not found:
        remarks.append(f"model {name}: its name says no size, so memory and hours leave it out")
        return label, None
    value, unit = found[-1]
    params = float(value) * (1e9 if unit.lower() == "b" else 1e6)
    return label, _Size(params, params)


def _counted(path: Path) -> _Size:
    """Parameters of a checkpoint folder or GGUF file, from its headers."""
    sizes = tensor_sizes(path)
    total, vocabulary = sum(sizes.values()), [count for name, count in sizes.items() if _VOCABULARY.search(name)]
    # embedding and head are two tensors or one that serves as both; looking a token up multiplies nothing
    return _Size(total, total - sum(vocabulary), max(vocabulary, default=0))


@dataclass(frozen=True)
class _Asked:
    """A task of the run: work is None where its data is not here; options are the mean over items."""

    name: str
    scoring: str
    prompt: str
    shots: int
    items: int | None
    work: Workload | None
    options: float


def _task(choice: TaskChoice, remarks: list[str]) -> _Asked:
    try:
        sheet = sheet_of(choice)
    except MissingData as error:
        task = TASKS[choice.name]
        scoring = choice.scoring or task.scoring
        prompt = choice.prompt or task.default_prompt
        check_style(task, scoring, parse_prompt(prompt))
        remarks.append(str(error))
        known = [count for count in (choice.limit, task.items) if count is not None]
        ends = [int(count) for count in task.options.split("-")]
        items = min(known, default=None)
        return _Asked(task.name, scoring, prompt, choice.shots, items, None, sum(ends) / len(ends))
    options = sum(len(question.choices) for question in sheet.questions) / len(sheet.questions)
    items = len(sheet.questions)
    return _Asked(sheet.task.name, sheet.scoring, sheet.prompt, sheet.shots, items, workload(sheet), options)


def measured_gflops(dtype: str, speeds: Mapping[str, float]) -> float | None:
    """The speed that a run would have: of its dtype, or for ``auto`` of the fastest."""
    known: Sequence[float] = list(speeds.values()) if dtype == "auto" else [speeds[dtype]] if dtype in speeds else []
    return max(known) if known else None

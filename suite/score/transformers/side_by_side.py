"""Batches of one cell side by side: each core takes a batch of its own, in place of all cores sharing every product.

The products of one batch are small, and cores that share them wait for each other at every layer. A batch that one
core computes alone comes out the same whichever core took it and whatever the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from suite.score.transformers.pack import Batch
from suite.score.transformers.path import replaced

# every further batch at once takes the memory of its activations
AT_ONCE = 4
# rotary embeddings that put other frequencies into the network while it computes
_CHANGING_ROTATIONS = ("dynamic", "longrope")

Start = TypeVar("Start")
Result = TypeVar("Result")


def at_once(network: Any, batches: int) -> int:
    """How many batches go through a network side by side: at most one a core, 1 on an accelerator.

    One by one go networks that keep something of a forward pass in themselves: rotations that change with length,
    modules whose forward pass somebody has replaced or hooked (compressed-tensors swaps weights inside).
    """
    import torch

    if network.get_input_embeddings().weight.device.type != "cpu":
        return 1
    rope = getattr(network.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {entry.get("rope_type") for entry in (rope, *rope.values()) if isinstance(entry, dict)}
    if kinds & set(_CHANGING_ROTATIONS) or any(map(replaced, network.modules())):
        return 1
    return max(1, min(torch.get_num_threads(), AT_ONCE, batches // 2))


def read_in_order(
    batches: Sequence[Batch],
    start: Callable[[tuple[int, ...]], Start],
    read: Callable[[Batch, Start | None], Result],
    workers: int,
) -> Generator[Result, None, None]:
    """What `read` makes of each batch, in their order, `workers` of them at a time.

    Args:
        start: what batches that share that start of their contexts have in common; made once for consecutive batches,
            one such start ahead of those that need it, so that no worker waits.
        workers: threads, each of which computes with its part of torch's.
    """
    if workers == 1:
        yield from _one_by_one(batches, start, read)
        return
    import torch

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
        try:
            pending = _submitted(pool, batches, start, read)[::-1]
            while pending:
                yield pending.pop().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def _one_by_one(
    batches: Sequence[Batch], start: Callable[[tuple[int, ...]], Start], read: Callable[[Batch, Start | None], Result]
) -> Generator[Result, None, None]:
    tokens: tuple[int, ...] = ()
    kept: Start | None = None
    for batch in batches:
        if batch.shared != tokens:
            # the former start's memory is free before the next one takes some
            kept, tokens = None, batch.shared
            kept = start(tokens) if tokens else None
        yield read(batch, kept)


def _submitted(
    pool: ThreadPoolExecutor,
    batches: Sequence[Batch],
    start: Callable[[tuple[int, ...]], Start],
    read: Callable[[Batch, Start | None], Result],
) -> list[Future[Result]]:
    """Jobs are taken up in the order of their submission: a start is under way before a batch that waits for it."""
    runs: list[list[Batch]] = []
    for batch in batches:
        if runs and runs[-1][0].shared == batch.shared:
            runs[-1].append(batch)
        else:
            runs.append([batch])

    def begin(number: int) -> Future[Start] | None:
        shared = runs[number][0].shared if number < len(runs) else ()
        return pool.submit(start, shared) if shared else None

    def finish(batch: Batch, begun: Future[Start] | None) -> Result:
        return read(batch, begun.result() if begun else None)

    jobs = []
    ahead = begin(0)
    for number, members in enumerate(runs):
        begun, ahead = ahead, begin(number + 1)
        jobs += [pool.submit(finish, batch, begun) for batch in members]
    return jobs

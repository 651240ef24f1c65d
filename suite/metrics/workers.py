"""Independent pieces of work in several processes.

Statistics here are many small sums. NumPy's own threads wait for one another over each, and make verdicts slower;
processes with one thread each do not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from suite.errors import SuiteError

VARIABLE = "SUITE_WORKERS"
"""Environment variable that sets the number of processes by hand."""

WORTH = 50_000
"""Scored items, over all cells, from which on processes are started: some 20 seconds of work for one."""

MOST = 16
"""More are not started unasked: each holds the bootstrap weights of a task."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def workers_for(items: int) -> int:
    """How many processes are worth their start: one a processor, or one in all for few items.

    Args:
        items: scored items, over all cells.

    Raises:
        SuiteError: ``SUITE_WORKERS`` is set and is no number of processes.
    """
    asked = os.environ.get(VARIABLE, "").strip()
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise SuiteError(f"{VARIABLE}={asked}: not a number of processes; use 1 or more, or leave it unset")
        return int(asked)
    if items < WORTH:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


def in_processes(function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int = 1) -> list[Result]:
    """``[function(task) for task in tasks]``, by so many processes; the results do not depend on their number.

    Args:
        function: of a module's top level, or a partial of one, so that another process finds it.
        workers: 1 stays in this process.

    Raises:
        MemoryError: a process was killed, as happens when memory runs out.
        Whatever the function raises.

    >>> in_processes(abs, [-2, 3])
    [2, 3]
    """
    if workers < 2 or len(tasks) < 2:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            return [function(task) for task in tasks]
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        # fresh interpreters with one thread each; arrays travel as they are, not through files
        pool = Parallel(n_jobs=min(workers, len(tasks)), backend="loky", max_nbytes=None)
        return list(pool(delayed(function)(task) for task in tasks))
    except TerminatedWorkerError as error:
        raise MemoryError(
            f"a process that computed statistics was killed, perhaps for want of memory; set {VARIABLE}=1 to use one"
        ) from error

"""Scoring speed beside lm-eval's: same items, same text, same dtype, same machine, in turns. Writes docs/benchmarks.md.

    make benchmark                       # installs lm-eval into .venv-lm-eval, once
    .venv/bin/python -m scripts.speed.benchmark --repeats 7 --only arc-easy
    .venv/bin/python -m scripts.speed.benchmark --plain-once --share .4       # short

Every repeat runs each contender once, one after the other, so that a slow minute of the machine meets all of them;
ratios are taken within a repeat. Loading and tokenizer start-up are left out for all; tokenization is inside for all.
Each call adds its ratios, with commit, processor and kernels, to those of earlier calls. Under kernels of a lesser
processor (`make benchmark KERNELS=avx2`) it writes a table of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.markers import check_markers, grown_table, marks, write_between
from scripts.speed.analysis_speed import commit, processor, spread
from suite.models.cache import cache_dir
from suite.models.checkpoint import Checkpoint, load
from suite.models.dtype import measure_dtypes, pick_dtype
from suite.models.model import resolve_model, weights_hash
from suite.score.cells import score
from suite.score.sheet import Sheet, make_sheet, part
from suite.score.transformers.budget import measure_budget
from suite.score.transformers.encode import encode
from suite.score.transformers.head import body, head_logits
from suite.score.transformers.network import NetworkScorer
from suite.tasks import get_task

ROOT = Path(__file__).resolve().parent.parent.parent

LM_EVAL = "lm-eval[hf]==0.4.13"
PINNED = ("torch", "transformers", "accelerate", "numpy", "tokenizers")
MODEL = "smollm2-135m"
LM_EVAL_BATCH = 16
START, END = marks("scoring")
LESSER, NO_LESSER = marks("scoring lesser")
EARLIER, NO_EARLIER = marks("scoring earlier")
MEMORY, NO_MEMORY = marks("memory")
# set where less than the processor's own instructions may be used
LIMIT = "ATEN_CPU_CAPABILITY"
OF_BARE = 0.85
_ROWS = 128


@dataclass(frozen=True)
class Case:
    """One workload: a task as both programs see it."""

    name: str
    title: str
    sheet: Sheet
    goal: float


def cases(share: float = 1.0) -> list[Case]:
    """The three workloads: short cloze, long cloze, letters behind five worked examples.

    Args:
        share: of the items; MMLU loses whole subjects, because a subject's items share their start.
    """
    arc, videos = max(1, round(200 * share)), max(1, round(60 * share))
    subjects = ("astronomy", "marketing", "virology")[: max(1, round(3 * share))]
    mmlu = _subset(make_sheet(get_task("mmlu"), scoring="letter", shots=5), subjects, 16)
    letters = f"MMLU, letters, 5 shots, {len(subjects)} subject{'s' * (len(subjects) > 1)} × 16 items"
    return [
        Case("arc-easy", f"ARC-Easy, cloze, {arc} items", make_sheet(get_task("arc-easy"), limit=arc), 2.72),
        Case(
            "hellaswag",
            f"HellaSwag, cloze, {videos} items",
            make_sheet(get_task("hellaswag"), limit=videos),
            1.85,
        ),
        Case("mmlu", letters, mmlu, 5.5),
    ]


def _subset(sheet: Sheet, subjects: Sequence[str], count: int) -> Sheet:
    rows = [[i for i, item in enumerate(sheet.questions) if item.subject == subject][:count] for subject in subjects]
    return part(sheet, sorted(row for found in rows for row in found))


class LmEval:
    """lm-eval's HF backend in a process and an environment of its own, idle until told to run."""

    def __init__(self, python: Path, checkpoint: Path, dtype: str, folder: Path, chosen: Sequence[Case]) -> None:
        for case in chosen:
            _write_task(folder, case)
        worker = folder / "worker.py"
        worker.write_text(WORKER, encoding="utf-8")
        self.process = subprocess.Popen(
            [str(python), str(worker), str(checkpoint), dtype, str(folder), str(LM_EVAL_BATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")},
        )
        self._answer()

    def run(self, case: Case) -> dict[str, Any]:
        """Seconds inside lm-eval's loglikelihood call, tokens it forwarded, its accuracy under the case's scoring."""
        assert self.process.stdin is not None
        self.process.stdin.write(case.name + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if case.sheet.scoring == "cloze-norm":
            answer["accuracy"] = answer["accuracy_norm"]
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
        raise SystemExit("benchmark: the lm-eval process ended; its message is above")


# Runs in lm-eval's environment. It sees the same text as the suite, item by item.
WORKER = """
import json, sys, time
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

checkpoint, dtype, folder, batch = sys.argv[1:]
lm = HFLM(pretrained=checkpoint, dtype=dtype, batch_size=int(batch), device="cpu")
clock = {"seconds": 0.0, "tokens": 0}
plain_call, plain_forward = lm.loglikelihood, lm.model.forward

def timed(requests, **rest):
    begin = time.perf_counter()
    out = plain_call(requests, **rest)
    clock["seconds"] += time.perf_counter() - begin
    return out

def counted(input_ids=None, *args, **rest):
    clock["tokens"] += input_ids.numel()
    return plain_forward(input_ids, *args, **rest)

lm.loglikelihood, lm.model.forward = timed, counted
manager = TaskManager(include_path=folder, include_defaults=False)
print("@" + json.dumps({"threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    clock.update(seconds=0.0, tokens=0)
    name = "suite_" + line.strip().replace("-", "_")
    result = simple_evaluate(model=lm, tasks=[name], task_manager=manager, bootstrap_iters=0, log_samples=False)
    print("@" + json.dumps({**clock, "accuracy": result["results"][name]["acc,none"],
           "accuracy_norm": result["results"][name]["acc_norm,none"]}), flush=True)
"""


def _write_task(folder: Path, case: Case) -> None:
    name = "suite_" + case.name.replace("-", "_")
    data = folder / f"{name}.jsonl"
    letters = case.sheet.scoring == "letter"
    with data.open("w", encoding="utf-8") as handle:
        for item, text in zip(case.sheet.questions, case.sheet.rendered, strict=True):
            options = [continuation[1:] for continuation in text.continuations] if letters else list(item.choices)
            handle.write(json.dumps({"context": text.context, "options": options, "answer": item.answer}) + "\n")
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{context}}'\ndoc_to_choice: '{{options}}'\n"
        "doc_to_target: answer\ntarget_delimiter: ' '\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n",
        encoding="utf-8",
    )


def run_suite(checkpoint: Checkpoint, case: Case, backend: str, budget: int) -> dict[str, Any]:
    """One timed scoring by this suite."""
    begin = time.perf_counter()
    cell = score(NetworkScorer(checkpoint, way=backend, token_budget=budget, drift=False), case.sheet)
    seconds = time.perf_counter() - begin
    accuracy = float(np.mean(np.nanargmax(cell.scores, axis=1) == cell.answers))
    return {"seconds": seconds, "tokens": cell.run["tokens"], "accuracy": accuracy}


def bare_seconds(checkpoint: Checkpoint, budget: int) -> tuple[float, float]:
    """Seconds a token of the bare model body, on one batch of the budget's size, and a position of the head's product.

    Random tokens in rows of 128; the head multiplies 128 positions at once.
    """
    import torch

    network = checkpoint.network
    tokens = torch.randint(40_000, (budget // _ROWS, _ROWS), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        begin = time.perf_counter()
        states = body(network)(input_ids=tokens, use_cache=False).last_hidden_state[0]
        middle = time.perf_counter()
        head_logits(network, states, exact=False)
        return (middle - begin) / tokens.numel(), (time.perf_counter() - middle) / len(states)


def positions_read(checkpoint: Checkpoint, sheet: Sheet) -> int:
    """Positions whose next token is read over the whole vocabulary; letters read four of its entries: none."""
    if sheet.scoring == "letter":
        return 0
    items = encode(checkpoint.tokenizer, sheet.rendered, bos=checkpoint.bos, max_length=1 << 30)
    return sum(1 + sum(len(branch) - 1 for branch in item.branches) for item in items)


def environment(folder: Path) -> Path:
    """lm-eval's own virtual environment, made once; same torch and transformers as the suite's."""
    from importlib.metadata import version

    python = folder / "bin" / "python"
    if not (folder / ".ready").is_file():
        print(f"installing {LM_EVAL} into {folder.name}, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pins = [f"{name}=={version(name).partition('+')[0]}" for name in PINNED]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *pins, LM_EVAL], check=True)
        (folder / ".ready").touch()
    return python


def of_bare(runs: Sequence[dict[str, Any]]) -> list[float]:
    """What body and head alone would take of the engine's time, in each repeat."""
    return [(run["tree"]["tokens"] * run["body"] + run["read"] * run["head"]) / run["tree"]["seconds"] for run in runs]


def earlier(
    out: Path, results: dict[str, list[dict[str, Any]]], chosen: Sequence[Case], computed_with: Sequence[str]
) -> str:
    """Earlier calls' ratios with this call's lines added."""
    head = [
        "| commit | processor | kernels | dtype | workload | lm-eval / engine | of the bare network |",
        "|---|---|---|---|---|--:|--:|",
    ]
    rows = []
    for case in chosen:
        runs = results[case.name]
        line = [*computed_with, case.title, spread(ratios(runs), 2), spread(of_bare(runs), 2)]
        rows.append(f"| {' | '.join(line)} |")
    return grown_table(out, EARLIER, NO_EARLIER, head, rows)


def ratios(runs: Sequence[dict[str, Any]]) -> list[float]:
    """lm-eval's seconds over the engine's, in each repeat."""
    return [run["lm-eval"]["seconds"] / run["tree"]["seconds"] for run in runs]


def table(results: dict[str, list[dict[str, Any]]], plain: dict[str, list[float]], chosen: Sequence[Case]) -> str:
    """The Markdown rows of all workloads.

    Args:
        plain: seconds of the plain path by workload: of each repeat, or of the uncounted round alone.
    """
    lines = [
        "| workload | lm-eval, s | plain path, s | this engine, s | lm-eval / engine | goal | plain / engine "
        f"| tokens lm-eval | tokens engine | limit | of the bare network (goal {OF_BARE}) |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in chosen:
        runs = results[case.name]
        ours = [run["tree"]["seconds"] for run in runs]
        theirs = [run["lm-eval"]["seconds"] for run in runs]
        whole = plain[case.name] if len(plain[case.name]) == len(runs) else plain[case.name] * len(runs)
        shares = spread([slow / fast for slow, fast in zip(whole, ours, strict=True)], 2)
        forwarded, distinct = runs[0]["lm-eval"]["tokens"], runs[0]["tree"]["tokens"]
        lines.append(
            f"| {case.title} | {spread(theirs)} | {spread(plain[case.name])} | {spread(ours)} "
            f"| **{spread(ratios(runs), 2)}** | {case.goal} | {shares} | {forwarded:,} | {distinct:,} "
            f"| {forwarded / distinct:.2f} | {spread(of_bare(runs), 2)} |"
        )
    return "\n".join(lines)


def memory() -> str:
    """The table of scripts/speed/memory.py."""
    command = [sys.executable, "-m", "scripts.speed.memory", MODEL, "rtn-w4", "magnitude-s50"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description="Scoring speed beside lm-eval's.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", action="append", help="arc-easy, hellaswag or mmlu")
    parser.add_argument("--share", type=float, default=1.0, help="of the items")
    parser.add_argument("--plain-once", action="store_true", help="the plain path in the uncounted round alone")
    parser.add_argument("--no-memory", action="store_true", help="leave the table of memory as it is")
    parser.add_argument("--lm-eval-env", type=Path, default=ROOT / ".venv-lm-eval")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    limited = LIMIT in os.environ
    place = (LESSER, NO_LESSER) if limited else (START, END)
    for start, end in (place, (EARLIER, NO_EARLIER), (MEMORY, NO_MEMORY)):
        check_markers(args.out, start, end)
    chosen = [case for case in cases(args.share) if not args.only or case.name in args.only]
    speeds = measure_dtypes()
    dtype = pick_dtype(speeds)
    model = resolve_model(MODEL)
    checkpoint = load(model, dtype=dtype)
    budget = measure_budget(checkpoint.network)
    folder = next((cache_dir() / "checkpoints").glob(f"{weights_hash(model.path)[7:31]}-{dtype}-v*"))
    results: dict[str, list[dict[str, Any]]] = {case.name: [] for case in chosen}
    plain: dict[str, list[float]] = {case.name: [] for case in chosen}
    answers: dict[str, dict[str, float]] = {case.name: {} for case in chosen}
    read = {case.name: positions_read(checkpoint, case.sheet) for case in chosen}
    python = environment(args.lm_eval_env)
    with tempfile.TemporaryDirectory() as temporary:
        lm_eval = LmEval(python, folder, dtype, Path(temporary), chosen)
        for repeat in range(args.repeats + 1):
            for case in chosen:
                run: dict[str, Any] = {"lm-eval": lm_eval.run(case)}
                run["tree"] = run_suite(checkpoint, case, "tree", budget)
                if not repeat or not args.plain_once:
                    run["plain"] = run_suite(checkpoint, case, "plain", budget)
                run["body"], run["head"] = bare_seconds(checkpoint, budget)
                run["read"] = read[case.name]
                contenders = [name for name in ("lm-eval", "plain", "tree") if name in run]
                answers[case.name] |= {name: run[name]["accuracy"] for name in contenders}
                # the first round warms caches and is not counted
                if repeat:
                    results[case.name].append(run)
                if bool(repeat) != args.plain_once:
                    plain[case.name].append(run["plain"]["seconds"])
                line = ", ".join(f"{name} {run[name]['seconds']:.1f} s" for name in contenders)
                print(f"{'warm-up' if not repeat else f'repeat {repeat}'} {case.name}: {line}", file=sys.stderr)
        lm_eval.close()
    accuracy = "\n".join(
        f"| {case.title} | "
        + " | ".join(f"{answers[case.name][name]:.3f}" for name in ("lm-eval", "plain", "tree"))
        + " |"
        for case in chosen
    )
    bodies = [1 / run["body"] for runs in results.values() for run in runs]
    kernels = torch.backends.cpu.get_cpu_capability()
    text = REPORT.format(
        model=MODEL,
        dtype=dtype,
        commit=commit(ROOT),
        processor=processor(),
        kernels=f"{kernels}, as on a lesser processor" if limited else kernels,
        repeats=args.repeats,
        once=" The plain path ran once, in the uncounted round." if args.plain_once else "",
        batch=LM_EVAL_BATCH,
        table=table(results, plain, chosen),
        accuracy=accuracy,
        budget=budget,
        body=spread(bodies, 0),
        gemm=", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items()),
    )
    write_between(args.out, *place, text)
    added = earlier(args.out, results, chosen, (commit(ROOT), processor(), kernels, dtype))
    write_between(args.out, EARLIER, NO_EARLIER, added)
    if not limited and not args.no_memory:
        write_between(args.out, MEMORY, NO_MEMORY, memory())
    print(text)


REPORT = """{model} in {dtype} on {processor}, PyTorch's kernels for {kernels} (commit {commit}).
The contenders run one after the other in every one of {repeats} repeats,
after an uncounted one; ratios are taken within a repeat. Entries are median (smallest to largest).{once}
lm-eval runs its HF backend with batch size {batch} on the same text; both sides' time includes tokenization and
leaves out loading. *Limit* is the ratio of tokens put through the model, padding counted for lm-eval, the most that
sharing can bring.

{table}

Accuracy of the three on the same items (they must agree but for 16-bit ties):

| workload | lm-eval | plain path | this engine |
|---|--:|--:|--:|
{accuracy}

Bare model body on one batch of {budget} random tokens, the batch size found by measurement: {body} tokens/s. One linear
layer (the GEMM peak for this shape), GFLOP/s: {gemm}."""


if __name__ == "__main__":
    main()

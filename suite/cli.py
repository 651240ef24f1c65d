"""The command line: arguments in, one call, text out. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from suite import __version__
from suite.errors import SuiteError

DONE, NO, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the answer is "no" (a check failed, a cell failed); 2 bad input; 130 interrupted.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = getattr(args, "command", None)
    if command is None:
        parser.print_help()
        return BAD_INPUT
    try:
        return command(args)
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of stdout is gone (head, less): nothing is left to say to it
        sys.stderr.close()
        return DONE
    except (SuiteError, OSError, MemoryError) as error:
        if getattr(args, "debug", False):
            traceback.print_exc()
        print(f"suite: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT


def _one_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a smaller model or --dtype bfloat16"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'input or output'}: {error.strerror}"
    return " ".join(str(error).splitlines())


class _Parser(argparse.ArgumentParser):
    """argparse with its complaints in one line, like every other message."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"suite: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    # no default here: a subcommand's would undo a --debug given before it
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser = _Parser(
        prog="suite",
        description="Uncertainty and calibration benchmark for compressed language models.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"suite {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common])
        sub.set_defaults(command=command)
        return sub

    run = add("run", _run, "score every cell of a configuration and publish the leaderboard; resumes by itself")
    run.add_argument("config", type=Path, metavar="CONFIG.yaml")
    run.add_argument("--out", type=Path, metavar="RUN_DIR", help="default: runs/<name of the configuration>")
    run.add_argument("--limit", type=int, metavar="N", help="items a task, overriding the configuration")
    run.add_argument("--only", metavar="GLOB", help="cells whose model/task/variant, or any of the three, match")
    run.add_argument("--dry-run", action="store_true", help="list cells, tokens, memory, hours and stop")
    run.add_argument("--dense-from", type=Path, metavar="SNAPSHOT", help="take dense cells from a published snapshot")

    score = add("score", _score, "score one model, variant and task into a cell file")
    score.add_argument("--model", required=True, metavar="M", help="embedded name, hub id org/name@rev, folder, .gguf")
    score.add_argument("--variant", default="dense", metavar="V")
    score.add_argument("--task", required=True, metavar="T", help="built-in name or a .jsonl file")
    score.add_argument("--scoring", metavar="S", help="letter, cloze-sum or cloze-norm; default: the task's own")
    score.add_argument("--prompt", metavar="P")
    score.add_argument("--shots", type=int, default=0, metavar="K")
    score.add_argument("--limit", type=int, metavar="N")
    score.add_argument("--seed", type=int, default=0, metavar="N", help="recorded; no built-in method draws at random")
    score.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    score.add_argument("--device", default="auto", metavar="D")
    score.add_argument("--backend", default="auto", choices=("auto", "tree", "plain"))
    score.add_argument("--trust-remote-code", action="store_true")
    score.add_argument("--out", required=True, type=Path, metavar="CELL.parquet")

    metrics = add("metrics", _metrics, "compute metrics from cells: no model is loaded")
    metrics.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run directory or cell files")
    metrics.add_argument("--protocol", default="exact", choices=("exact", "ye2024"))
    metrics.add_argument("--alpha", type=float, default=0.1, help="allowed miscoverage, default 0.1")
    metrics.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    collapse = add("collapse", _collapse, "judge every curve of a run directory: collapse, decoupling, size")
    collapse.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    collapse.add_argument("--json", action="store_true", help="one JSON array of verdicts on stdout and nothing else")

    board = add("leaderboard", _leaderboard, "write the snapshot of a run directory again from its cells")
    board.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    board.add_argument("--out", type=Path, metavar="DIR", help="default: RUN_DIR")

    verified = add("verify", _verify, "recompute every table of a snapshot from its cells and compare")
    verified.add_argument("snapshot", type=Path, metavar="SNAPSHOT")

    compared = add("diff", _diff, "what changed from one snapshot to another, paired where they share items")
    compared.add_argument("first", type=Path, metavar="A")
    compared.add_argument("second", type=Path, metavar="B")
    compared.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    exported = add("export", _export, "write a snapshot in another format")
    exported.add_argument("format", metavar="FORMAT", help="eee (Every Eval Ever), lm-eval or model-card")
    exported.add_argument("snapshot", type=Path, metavar="SNAPSHOT")
    exported.add_argument("--out", required=True, type=Path, metavar="DIR")

    imported = add("import", _import, "turn scores made elsewhere into cells of a run directory")
    imported.add_argument("format", metavar="FORMAT", help="jsonl, npz, lm-eval or ye2024")
    imported.add_argument("source", type=Path, metavar="SRC")
    imported.add_argument("--model", required=True, metavar="NAME")
    imported.add_argument("--variant", default="dense", metavar="V")
    imported.add_argument("--task", required=True, metavar="T")
    imported.add_argument("--scoring", choices=("sum", "norm"), help="how log-likelihoods become scores (lm-eval)")
    imported.add_argument("--prompt", metavar="P", help="how the prompt is called; some formats have several")
    imported.add_argument("--shots", type=int, metavar="K", help="worked examples that the scores were made with")
    imported.add_argument("--params-b", type=float, metavar="B", help="parameters in billions")
    imported.add_argument("--replace", action="store_true", help="replace cells of the same name")
    imported.add_argument("--out", required=True, type=Path, metavar="RUN_DIR")

    listed = add("list", _list, "list models, methods or tasks")
    listed.add_argument("what", choices=("models", "methods", "tasks"))

    show = add("show", _show, "print exactly what a model sees of one item")
    show.add_argument("task", metavar="TASK")
    show.add_argument("--item", type=int, default=0, metavar="N")
    show.add_argument("--scoring", metavar="S")
    show.add_argument("--prompt", metavar="P")
    show.add_argument("--shots", type=int, default=0, metavar="K")
    show.add_argument("--model", metavar="M", help="also show this model's token boundaries")

    doctor = add("doctor", _doctor, "say what is missing or odd on this machine and how to mend it")
    doctor.add_argument("--drift", metavar="MODEL", help="measure what 16-bit arithmetic does to this model's scores")
    return parser


def _run(args: argparse.Namespace) -> int:
    from suite.config import read_config
    from suite.run import execute, resolve_device

    config = read_config(args.config)
    out = args.out or Path("runs") / args.config.stem
    _check_limit(args.limit)
    if args.dry_run:
        if args.limit is not None:
            config = replace(config, tasks=tuple(replace(task, limit=args.limit) for task in config.tasks))
        from suite.dtype import measure_dtypes
        from suite.estimate import estimate, measured_gflops

        device = resolve_device(config.device)
        found = estimate(config, only=args.only)
        print("\n".join(found.lines()))
        speed = measured_gflops(config.dtype, measure_dtypes(device))
        print("\n".join(found.summary(speed)), file=sys.stderr)
        return DONE
    result = execute(config, out, limit=args.limit, only=args.only, dense_from=args.dense_from)
    print(f"\nleaderboard: {result.leaderboard}")
    print(f"figures:     {result.leaderboard.parent / 'figures'}")
    if result.highlights:
        print("\nwhat to look at:")
        for number, line in enumerate(result.highlights, start=1):
            print(f"  {number}. {line}")
    for failure in result.failures:
        name = "/".join(str(failure[key]) for key in ("model", "task", "variant"))
        print(f"suite: failed cell {name}: {failure['reason']}", file=sys.stderr)
    return NO if result.failures else DONE


def _score(args: argparse.Namespace) -> int:
    _check_limit(args.limit)
    from suite.variant import parse_variant

    variant = parse_variant(args.variant)
    _check_output(args.out)
    from suite.cell import write_cell
    from suite.model import resolve_model
    from suite.score.cells import CellFailure, make_sheet, score
    from tasks import get_task

    sheet = make_sheet(
        get_task(args.task), scoring=args.scoring, prompt=args.prompt, shots=args.shots, limit=args.limit
    )
    model = resolve_model(args.model)
    from tqdm import tqdm

    from suite.checkpoint import load
    from suite.compress import apply, check_supported
    from suite.run import resolve_device, resolve_dtype

    check_supported(variant)
    device = resolve_device(args.device)
    dtype, _ = resolve_dtype(args.dtype, device)
    checkpoint = load(model, dtype=dtype, device=device, trust_remote_code=args.trust_remote_code)
    info = apply(checkpoint.network, variant).as_metadata()
    with tqdm(total=len(sheet.questions), unit="item", desc=f"{args.task} {variant.name}", file=sys.stderr) as bar:
        try:
            cell = score(checkpoint, info, sheet, backend=args.backend, progress=bar.update)
            cell = replace(cell, run={**cell.run, "seed": args.seed})
        except CellFailure as failure:
            bar.close()
            print(f"suite: failed cell {model.name}/{args.task}/{variant.name}: {failure}", file=sys.stderr)
            return NO
    write_cell(args.out, cell)
    print(f"{args.out}: {len(cell)} items, {cell.run['backend']} backend, {dtype}", file=sys.stderr)
    return DONE


def _metrics(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.metrics.rows import compute_rows

    if not 0 < args.alpha < 1:
        raise SuiteError(f"alpha {args.alpha} out of range: use a number between 0 and 1, such as 0.1")
    rows = compute_rows(load_cells(args.paths), protocol=args.protocol, alpha=args.alpha)
    if args.json:
        print(json.dumps(rows, indent=1, allow_nan=False))
    else:
        print(_table(rows))
    return DONE


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """A short plain table of the main figures; ``--json`` has them all."""
    names = ("model", "task", "variant", "n", "accuracy", "set_size", "lac_coverage", "ece", "nll")
    lines = [list(names)]
    for row in rows:
        values = (row[name] for name in names)
        lines.append(
            [f"{value:.3f}" if isinstance(value, float) else str("–" if value is None else value) for value in values]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _collapse(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import read_config
    from suite.metrics.rows import measure_cells
    from suite.metrics.sample import settings_of
    from suite.verdicts.assess import assess
    from suite.verdicts.curves import KEPT

    file = args.run_dir / "config.yaml"
    config = read_config(file) if file.is_file() else None
    settings = settings_of(config)
    assessment = assess(measure_cells(load_cells([args.run_dir]), settings, keep=KEPT), settings, config=config)
    if args.json:
        print(json.dumps(assessment.records, indent=1, allow_nan=False))
    else:
        print("\n".join(assessment.lines()))
    return DONE


def _leaderboard(args: argparse.Namespace) -> int:
    from suite.config import read_config
    from suite.run import publish

    file = args.run_dir / "config.yaml"
    path, _ = publish(args.run_dir, read_config(file) if file.is_file() else None, args.out)
    print(path)
    return DONE


def _verify(args: argparse.Namespace) -> int:
    from suite.publish.verify import verify

    report = verify(args.snapshot)
    for problem in report.problems:
        print(f"{args.snapshot}: {problem}")
    for remark in report.remarks:
        print(f"{args.snapshot}: remark: {remark}", file=sys.stderr)
    if report.problems:
        return NO
    print(f"{args.snapshot}: {report.cells} cells, {report.files} files: everything is what the cells give")
    return DONE


def _diff(args: argparse.Namespace) -> int:
    from suite.publish.diff import compare

    comparison = compare(args.first, args.second)
    if args.json:
        print(json.dumps(comparison.records(), indent=1, allow_nan=False))
    else:
        print("\n".join(comparison.lines()))
    return DONE


def _export(args: argparse.Namespace) -> int:
    from suite.exporters import export_snapshot

    for path in export_snapshot(args.format, args.snapshot, args.out):
        print(path)
    return DONE


def _import(args: argparse.Namespace) -> int:
    from suite.importers import import_cells, store_cells
    from suite.variant import parse_variant

    parse_variant(args.variant)
    cells = import_cells(
        args.format,
        args.source,
        model=args.model,
        variant=args.variant,
        task=args.task,
        scoring=args.scoring,
        params_b=args.params_b,
        prompt=args.prompt,
        shots=args.shots,
    )
    for path in store_cells(cells, args.out, replace=args.replace):
        print(path)
    return DONE


def _list(args: argparse.Namespace) -> int:
    if args.what == "models":
        from suite.model import EMBEDDED

        for name, entry in EMBEDDED.items():
            print(f"{name}\t{entry.title}\t{entry.licence}")
        print(
            "org/name[@revision]\ta model on the hub\nDIR\ta folder saved with save_pretrained\nFILE.gguf\ta GGUF file"
        )
    elif args.what == "methods":
        from suite.compress import METHODS

        print("dense\tthe model as it is")
        for name, method in METHODS.items():
            print(f"{name}\t{method.levels}\tneeds: {method.needs}\t{method.paper}\t{method.recipe}")
    else:
        from tasks import TASKS

        for name, task in TASKS.items():
            print(f"{name}\t{task.kind}\t{task.options} options\t{task.scoring}\t{task.licence}\t{task.source}")
        print("FILE.jsonl\tany multiple-choice questions; see README")
    return DONE


def _show(args: argparse.Namespace) -> int:
    from suite.score.cells import make_sheet
    from tasks import get_task

    sheet = make_sheet(get_task(args.task), scoring=args.scoring, prompt=args.prompt, shots=args.shots)
    if not 0 <= args.item < len(sheet.questions):
        raise SuiteError(f"task {args.task}: no item {args.item}, it has items 0 to {len(sheet.questions) - 1}")
    item, text = sheet.questions[args.item], sheet.rendered[args.item]
    print(f"id: {item.id}\nscoring: {sheet.scoring}\n--- context\n{text.context}\n--- options")
    for index, continuation in enumerate(text.continuations):
        print(f"{'*' if index == item.answer else ' '} {continuation!r}")
    if args.model:
        from suite.checkpoint import load
        from suite.model import resolve_model
        from suite.score.prompt import encode

        checkpoint = load(resolve_model(args.model), dtype="float32")
        (tokens,) = encode(checkpoint.tokenizer, [text], bos=checkpoint.bos, max_length=1 << 30)
        to_text = checkpoint.tokenizer.convert_ids_to_tokens
        print(f"--- tokens of the shared context\n{to_text(list(tokens.prefix))}\n--- tokens of the options")
        for branch in tokens.branches:
            print(f"  {to_text(list(branch))}")
    return DONE


def _doctor(args: argparse.Namespace) -> int:
    if args.drift:
        from suite.model import resolve_model
        from suite.run import resolve_device
        from suite.score.cells import make_sheet
        from suite.score.drift_check import check_drift
        from tasks import get_task

        sheet = make_sheet(get_task("arc-easy"), limit=64)
        report_of_drift = check_drift(resolve_model(args.drift), sheet, device=resolve_device("auto"))
        print("\n".join(report_of_drift.lines()))
        return DONE
    from suite.doctor import anything_missing, examine, report

    findings = examine()
    print(report(findings))
    return NO if anything_missing(findings) else DONE


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SuiteError(f"limit {limit} out of range: use 1 or more items")


def _check_output(path: Path) -> None:
    """Say before an hour of scoring that the result could not be written."""
    if path.is_dir():
        raise SuiteError(f"output {path}: is a folder; name a file such as cell.parquet")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise SuiteError(f"output {path}: {folder} is not a folder; name another one")
    if not os.access(folder, os.W_OK):
        raise SuiteError(f"output {path}: {folder} cannot be written; name another folder")

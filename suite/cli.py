"""The command line: arguments in, one call, text out. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from suite import __version__
from suite.errors import CellFailure, SuiteError
from suite.files import check_output
from suite.prompt_name import GRAMMAR
from suite.tables import at_terminal, print_records, print_table

if TYPE_CHECKING:
    from suite.cell import Cell
    from suite.decisions.policy import Policy
    from suite.importers.labels import Columns
    from suite.sample_text import Sampling

DONE, NO, BAD_INPUT, REVIEW, INTERRUPTED = 0, 1, 2, 3, 130
PROMPT_HELP = f"{GRAMMAR}; default: the task's own style, raw"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the answer is "no" (a check failed, a cell failed, rejected); 2 bad input; 3 review; 130 interrupted.
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
    run.add_argument(
        "--cells-from", type=Path, metavar="DIR", help="take cells of equal content from a snapshot or run directory"
    )
    run.add_argument(
        "--lock", type=Path, metavar="L", help="of 'suite policy lock': compressed cells will carry its hash"
    )
    run.add_argument("--dense-from", type=Path, metavar="SNAPSHOT", help="take dense cells from a published snapshot")

    score = add("score", _score, "score one model, variant and task into a cell file")
    score.add_argument("--model", required=True, metavar="M", help="embedded name, hub id org/name@rev, folder, .gguf")
    score.add_argument(
        "--dense", metavar="PARENT", help="the model is a checkpoint made of this one: score it as variant"
    )
    score.add_argument("--variant", metavar="V", help="default: dense; with --dense what the checkpoint says it is")
    score.add_argument("--task", required=True, metavar="T", help="built-in name or a .jsonl file")
    score.add_argument("--scoring", metavar="S", help="letter, cloze-sum or cloze-norm; default: the task's own")
    score.add_argument("--prompt", metavar="P", help=PROMPT_HELP)
    score.add_argument("--shots", type=int, default=0, metavar="K")
    score.add_argument("--limit", type=int, metavar="N")
    _add_sample_text(score)
    score.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    score.add_argument("--device", default="auto", metavar="D")
    score.add_argument("--scorer", metavar="S", help="what runs the model, see 'suite list scorers'")
    score.add_argument("--backend", default="auto", choices=("auto", "tree", "plain"), help="how transformers runs it")
    score.add_argument("--trust-remote-code", action="store_true")
    score.add_argument("--out", required=True, type=Path, metavar="CELL.parquet")

    compress = add("compress", _compress, "write a compressed model as a checkpoint that transformers loads")
    compress.add_argument(
        "--model", required=True, metavar="M", help="embedded name, hub id org/name@rev, folder, .gguf"
    )
    compress.add_argument("--variant", required=True, metavar="V", help="such as gptq-w4-g64; see 'suite list methods'")
    _add_sample_text(compress)
    compress.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    compress.add_argument("--device", default="auto", metavar="D")
    compress.add_argument("--trust-remote-code", action="store_true")
    compress.add_argument("--json", action="store_true", help="what was measured, as one JSON object on stdout")
    compress.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")

    metrics = add("metrics", _metrics, "compute metrics from cells: no model is loaded")
    metrics.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run directory or cell files")
    metrics.add_argument("--protocol", default="exact", choices=("exact", "ye2024"))
    metrics.add_argument("--alpha", type=float, default=0.1, help="allowed miscoverage, default 0.1")
    parts = metrics.add_mutually_exclusive_group()
    parts.add_argument("--slices", action="store_true", help="parts of each task: subjects, slices, edge, perturbed")
    parts.add_argument("--spread", action="store_true", help="spread over prompts beside the effect of compression")
    parts.add_argument("--seeds", action="store_true", help="spread over seeds of the sample text beside that of items")
    parts.add_argument(
        "--details", action="store_true", help="each cell broken down: kinds of sets, reliability, risk and coverage"
    )
    metrics.add_argument(
        "--wanted-error", type=float, metavar="R", help="with --details: error rate that deferral keeps, default 0.1"
    )
    metrics.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    collapse = add("collapse", _collapse, "judge every curve of a run directory: collapse, decoupling, size")
    collapse.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    collapse.add_argument(
        "--slices", action="store_true", help="judge the parts of tasks instead: slices, subjects, edge"
    )
    collapse.add_argument("--json", action="store_true", help="one JSON array of verdicts on stdout and nothing else")

    dose = add("dose", _dose, "down to which level each curve is kept, from which it is lost, what is not known")
    dose.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    dose.add_argument(
        "--tolerance",
        type=float,
        nargs="+",
        action="extend",
        metavar="F",
        help="shares of the way from dense to chance; default those of the run's primary, else 0.05 0.10 0.25",
    )
    dose.add_argument(
        "--metric", action="append", metavar="M", help="default: the run's primary, else brier_ts; all with --json"
    )
    dose.add_argument("--confidence", type=float, default=0.95, metavar="P", help="of each side, default 0.95")
    dose.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    against = add("compare", _compare, "a compressed model against the dense one, from lm-eval samples, cells or JSONL")
    against.add_argument("dense", type=Path, metavar="DENSE", help="lm-eval samples, cells (.parquet) or a JSONL file")
    against.add_argument("compressed", type=Path, metavar="COMPRESSED", help="the same items by the compressed model")
    against.add_argument(
        "--scoring",
        choices=("sum", "norm"),
        help="log-likelihoods as they are (acc, default) or by character (acc_norm)",
    )
    against.add_argument("--policy", metavar="P", help="decide by it: a built-in policy or a .yaml file")
    against.add_argument("--junit", type=Path, metavar="FILE", help="also write the decision as a JUnit file")
    against.add_argument("--markdown", type=Path, metavar="FILE", help="also write it as a table, for a summary")
    against.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    defer = add("defer", _defer, "what it costs to answer from a confidence on and review the rest, dense and variants")
    defer.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    defer.add_argument("--cost-wrong", type=float, metavar="C", help="of a wrong answer, above 0")
    defer.add_argument("--cost-review", type=float, metavar="C", help="of a question left to a reviewer, above 0")
    defer.add_argument(
        "--shift", action="store_true", help="coverage of prediction sets under another task's threshold instead"
    )
    defer.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    policy = add("policy", _policy, "what a compressed model may lose at most: the built-in policies, or your own")
    actions = policy.add_subparsers(dest="what", metavar="list|show|check|lock", required=True)
    locked = actions.add_parser(
        "lock", parents=[common], help="write down policy, candidates and items before anything is compressed"
    )
    locked.add_argument("names", nargs=1, metavar="POLICY", help="a built-in policy or a .yaml file")
    locked.add_argument("--config", required=True, type=Path, metavar="C", help="of the run, candidates from safest on")
    locked.add_argument("--out", required=True, type=Path, metavar="F", help="such as policy.lock")
    for what in ("list", "show", "check"):
        part = actions.add_parser(what, parents=[common])
        if what != "list":
            part.add_argument("names", nargs="+", metavar="NAME", help="a built-in policy or a .yaml file")
        if what == "show":
            part.add_argument("--flips", type=float, default=0.05, metavar="F", help="expected share, default 0.05")
            part.add_argument(
                "--dense-accuracy", type=float, default=0.7, metavar="A", help="expected of dense, default 0.7"
            )
        part.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    gate = add(
        "gate", _gate, "may each compressed model replace the dense one? exit 0 all accepted, 3 review, 1 rejected"
    )
    gate.add_argument("run_dir", nargs="?", type=Path, metavar="RUN_DIR|SNAPSHOT|CONFIG")
    gate.add_argument("--policy", required=True, metavar="P", help="a built-in policy or a .yaml file")
    gate.add_argument("--variant", metavar="GLOB", help="only variants whose name matches; with --sequential one name")
    gate.add_argument(
        "--plan", action="store_true", help="CONFIG.yaml: the items that each limit needs, before anything is run"
    )
    gate.add_argument("--flips", type=float, metavar="F", help="with --plan: expected share, default 0.05")
    gate.add_argument("--dense-accuracy", type=float, metavar="A", help="with --plan: expected of dense, default 0.7")
    gate.add_argument("--lock", type=Path, metavar="L", help="what was fixed beforehand, of 'suite policy lock'")
    gate.add_argument(
        "--search", choices=("half",), help="find the smallest that passes on one half of the items, test on the other"
    )
    gate.add_argument("--junit", type=Path, metavar="FILE", help="also write a JUnit file, a test a variant")
    gate.add_argument("--markdown", type=Path, metavar="FILE", help="also write a table, for the summary of a pipeline")
    gate.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    few = gate.add_argument_group("few items first (docs/sequential.md)")
    few.add_argument("--sequential", action="store_true", help="ask items in a random order until it is decided")
    few.add_argument("--model", metavar="M", help="the compressed model, or with --variant what that is made of")
    few.add_argument("--dense", metavar="D", help="the dense model, or a file or folder with its cells")
    few.add_argument("--task", action="append", default=[], metavar="T", help="may be repeated; default: the policy's")
    few.add_argument("--limit", type=int, metavar="N", help="a fixed subset of so many items a task")
    few.add_argument(
        "--first", type=int, metavar="N", help="items that only fix temperature and thresholds, default 30"
    )
    few.add_argument("--batch", type=int, metavar="N", help="items a task between two looks, default 20")
    few.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of the items")
    few.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float16", "float32"))
    few.add_argument("--device", default="auto", metavar="D")
    few.add_argument("--trust-remote-code", action="store_true")
    few.add_argument("--out", type=Path, metavar="RUN_DIR", help="for the cells; default: runs/sequential")

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
    imported.add_argument("format", metavar="FORMAT", help="jsonl, npz, parquet, lm-eval or ye2024")
    imported.add_argument("source", type=Path, metavar="SRC")
    imported.add_argument("--model", required=True, metavar="NAME")
    imported.add_argument("--variant", default="dense", metavar="V")
    imported.add_argument("--task", required=True, metavar="T")
    imported.add_argument(
        "--scoring",
        choices=("sum", "norm", "letter"),
        help="what log-likelihoods are, or become (lm-eval); letter: those of option letters",
    )
    imported.add_argument("--prompt", metavar="P", help="how the prompt is called; some formats have several")
    imported.add_argument("--shots", type=int, metavar="K", help="worked examples that the scores were made with")
    imported.add_argument("--filter", metavar="NAME", help="which filter of a task that lm-eval logged once a filter")
    named = imported.add_argument_group("columns of a parquet file")
    named.add_argument("--id", metavar="COLUMN")
    named.add_argument("--answer", metavar="COLUMN", help="index of the right option, 0 for the first")
    named.add_argument("--scores", nargs="+", metavar="COLUMN", help="one column of lists, or one an option")
    named.add_argument("--kind", metavar="K", help="of the scores: logits, loglik or probs")
    named.add_argument("--subject", metavar="COLUMN")
    named.add_argument("--group", metavar="COLUMN", help="items that share a passage")
    named.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows; may be repeated"
    )
    imported.add_argument("--params-b", type=float, metavar="B", help="parameters in billions")
    imported.add_argument("--replace", action="store_true", help="replace cells of the same name")
    imported.add_argument("--out", required=True, type=Path, metavar="RUN_DIR")

    listed = add("list", _list, "list models, methods, tasks or scorers")
    listed.add_argument("what", choices=tuple(_LISTS))
    listed.add_argument("--json", action="store_true", help="one JSON array on stdout and nothing else")

    show = add("show", _show, "print exactly what a model sees of one item")
    show.add_argument("task", metavar="TASK")
    show.add_argument("--item", type=int, default=0, metavar="N")
    show.add_argument("--scoring", metavar="S")
    show.add_argument("--prompt", metavar="P", help=PROMPT_HELP)
    show.add_argument("--shots", type=int, default=0, metavar="K")
    show.add_argument("--model", metavar="M", help="also show this model's token boundaries")

    doctor = add("doctor", _doctor, "say what is missing or odd on this machine and how to mend it")
    doctor.add_argument("--drift", metavar="MODEL", help="measure what 16-bit arithmetic does to this model's scores")
    return parser


def _run(args: argparse.Namespace) -> int:
    from suite.config import read_config
    from suite.models.device import resolve_device
    from suite.run.pipeline import execute

    config = read_config(args.config)
    out = args.out or Path("runs") / args.config.stem
    if args.dry_run:
        from suite.models.dtype import measure_dtypes
        from suite.run.estimate import estimate, measured_gflops
        from suite.run.plan import limited

        device = resolve_device(config.device)
        found = estimate(limited(config, args.limit), only=args.only)
        print("\n".join(found.lines()))
        speed = measured_gflops(config.dtype, measure_dtypes(device))
        print("\n".join(found.summary(speed)), file=sys.stderr)
        return DONE
    result = execute(
        config,
        out,
        limit=args.limit,
        only=args.only,
        cells_from=args.cells_from,
        dense_from=args.dense_from,
        lock=args.lock,
    )
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


def _add_sample_text(parser: argparse.ArgumentParser) -> None:
    from suite.sample_text import DEFAULT, Sampling

    default = Sampling()
    parser.add_argument(
        "--sample-text", default=DEFAULT, metavar="FILE", help="what data-driven methods read; default: SQuAD and DROP"
    )
    parser.add_argument("--samples", type=int, default=default.samples, metavar="N", help="sequences of it")
    parser.add_argument("--sample-length", type=int, default=default.length, metavar="N", help="tokens in each")
    parser.add_argument("--seed", type=int, default=default.seed, metavar="N", help="of the order of its passages")


def _sampling(args: argparse.Namespace) -> Sampling:
    from suite.sample_text import Sampling

    return Sampling(args.sample_text, args.samples, args.sample_length, args.seed)


def _score(args: argparse.Namespace) -> int:
    from suite.variant import parse_variant

    parse_variant(args.variant or "dense")
    sampling = _sampling(args)
    check_output(args.out)
    from suite.cell import write_cell
    from suite.score.sheet import make_sheet
    from suite.tasks import get_task

    sheet = make_sheet(
        get_task(args.task), scoring=args.scoring, prompt=args.prompt, shots=args.shots, limit=args.limit
    )
    from tqdm import tqdm

    from suite.run.plan import plan_variant
    from suite.run.prepare import decide, open_scorer
    from suite.score.cells import score

    conditions = decide(
        args.dtype,
        args.device,
        trust_remote_code=args.trust_remote_code,
        sampling=sampling,
        scorer=args.scorer,
    )
    (cell,) = plan_variant(args.model, args.variant, [sheet], conditions, dense=args.dense)
    scorer = open_scorer(cell.model, cell.variant, conditions, ready=cell.ready, kept=False, way=args.backend)
    with tqdm(total=len(sheet.rendered), unit="item", desc=f"{args.task} {cell.variant.name}", file=sys.stderr) as bar:
        try:
            scored = cell.signed(score(scorer, sheet, progress=bar.update))
        except CellFailure as failure:
            bar.close()
            print(f"suite: failed cell {cell.label}: {failure}", file=sys.stderr)
            return NO
    if args.backend != "auto":
        # a run would not have scored it this way
        scored = replace(scored, run={name: value for name, value in scored.run.items() if name != "key"})
    write_cell(args.out, scored)
    print(
        f"{args.out}: {len(scored)} items, {scored.run.get('backend', args.scorer)} backend, {scored.run['dtype']}",
        file=sys.stderr,
    )
    for remark in scored.run.get("notes", ()):
        print(f"note: {remark}", file=sys.stderr)
    return DONE


def _compress(args: argparse.Namespace) -> int:
    from suite.front_door import compress_model

    measured = compress_model(
        args.model,
        args.variant,
        args.out,
        dtype=args.dtype,
        device=args.device,
        trust_remote_code=args.trust_remote_code,
        sampling=_sampling(args),
    )
    if args.json:
        print(_json(measured))
    else:
        print(
            "{0}: {1:.1f} MB, {bits_per_weight:.2f} bits a weight, {sparsity:.1%} zeros, relative weight error "
            "{relative_weight_error:.4f}, {seconds:.0f} s".format(args.out, measured["saved_bytes"] / 1e6, **measured)
        )
    for note in measured["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return DONE


def _json(content: object) -> str:
    """What ``--json`` prints."""
    return json.dumps(content, indent=1, allow_nan=False)


_Table = tuple[Sequence[str], Sequence[Mapping[str, object]]]


def _print(
    args: argparse.Namespace, records: object, *, table: _Table | None = None, lines: Sequence[str] = ()
) -> None:
    """Records as they were asked for: JSON; words, where a person reads them or there is no table; else the table."""
    if args.json:
        print(_json(records))
    elif lines and (table is None or at_terminal()):
        print("\n".join(lines))
    elif table is not None:
        print_records(*table)


def _metrics(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import Protocol
    from suite.metrics.figures import DENSE, FIGURES, PAGE_COLUMNS
    from suite.metrics.rows import measure_cells
    from suite.metrics.workers import workers_for

    if not 0 < args.alpha < 1:
        raise SuiteError(f"alpha {args.alpha} out of range: use a number between 0 and 1, such as 0.1")
    if args.wanted_error is not None and not args.details:
        raise SuiteError("--wanted-error belongs to --details; give both")
    cells = load_cells(args.paths)
    rows: Sequence[Mapping[str, object]]
    names: tuple[str, ...]
    names = (*("model", "task", "variant", "n"), *(key for key in PAGE_COLUMNS if FIGURES[key].source != DENSE))
    if args.details:
        return _details(args, cells)
    if args.slices:
        from suite.metrics.slices import compute_slices

        rows, names = compute_slices(cells, Protocol(args.protocol, args.alpha)), _SLICE_COLUMNS
    else:
        protocol = Protocol(args.protocol, args.alpha, replicates=0 if args.spread else 1000)
        rows = [one.row for one in measure_cells(cells, protocol, workers=workers_for(sum(map(len, cells))))]
    if args.spread:
        from suite.metrics.prompt_spread import prompt_spread

        rows, names = prompt_spread(rows), _SPREAD_COLUMNS
        if not rows:
            raise SuiteError("no task was asked with two prompts; score it with another --prompt first")
    if args.seeds:
        from suite.metrics.seed_spread import seed_spread

        rows, names = seed_spread(rows, cells), _SEED_COLUMNS
        if not rows:
            raise SuiteError("no variant was made with two seeds of sample text; add one such as gptq-w3@seed1")
    _print(args, rows, table=(names, rows))
    return DONE


def _details(args: argparse.Namespace, cells: list[Cell]) -> int:
    from suite.config import Protocol
    from suite.metrics.details import compute_details, details_tables
    from suite.metrics.workers import workers_for

    wanted = 0.1 if args.wanted_error is None else args.wanted_error
    protocol, workers = Protocol(args.protocol, args.alpha), workers_for(sum(map(len, cells)))
    found = compute_details(cells, protocol, wanted_error=wanted, workers=workers)
    if args.json:
        print(_json(found))
        return DONE
    for details in found:
        print(
            "{model}/{task}/{scoring}-{prompt}-{shots}/{variant}: {n_evaluated} items, alpha {alpha}".format(**details)
        )
        for title, rows in details_tables(details):
            print(f"\n{title}")
            print_records(tuple(rows[0]), rows)
        print()
    return DONE


_SLICE_COLUMNS = (
    *("task", "prompt", "variant", "slice", "n", "accuracy", "accuracy_low", "accuracy_high", "lac_set_size"),
    *("lac_coverage", "lac_coverage_low", "lac_coverage_high", "accuracy_change", "lac_set_size_change", "verdict"),
)
_SPREAD_COLUMNS = (
    *("model", "task", "scoring", "variant", "n_prompts"),
    *(f"{key}_{name}" for key in ("accuracy", "set_size") for name in ("low", "high", "deviation", "change_mean")),
    *("accuracy_change_over_spread", "set_size_change_over_spread"),
)
_SEED_COLUMNS = (
    *("model", "task", "variant", "n_seeds"),
    *(
        f"{key}_change_{name}"
        for key in ("accuracy", "set_size")
        for name in ("mean", "low", "high", "deviation", "half_width", "seeds_over_items")
    ),
)


def _collapse(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import config_in
    from suite.decisions.analyses import DECOUPLING, PARTS, PASSED, SCALE, VERDICTS, judge_cells
    from suite.metrics.replicates import Store
    from suite.publish.manifest import code_hash
    from suite.verdicts.curves import PRIMARY
    from suite.verdicts.slices import slice_lines

    config = config_in(args.run_dir)
    store = Store.of(args.run_dir, code_hash())
    files = (PARTS,) if args.slices else (VERDICTS, DECOUPLING, PASSED, SCALE)
    _, judgement = judge_cells(load_cells([args.run_dir]), config, store=store, files=files)
    records = judgement.files().get(files[0], [])
    lead = config.primary.metric if config and config.primary else PRIMARY
    lines = slice_lines(records) if args.slices else judgement.lines(lead)
    _print(args, records, lines=lines)
    return DONE


def _dose(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import config_in
    from suite.metrics.replicates import Store
    from suite.publish.manifest import code_hash
    from suite.verdicts.dose_records import (
        check_metrics,
        dose_lines,
        dose_table,
        find_dose_records,
        primary_measure,
    )

    metrics = check_metrics(args.metric or [])
    config = config_in(args.run_dir)
    records = find_dose_records(
        load_cells([args.run_dir]),
        config,
        store=Store.of(args.run_dir, code_hash()),
        metrics=metrics or ([] if args.json else [primary_measure(config)]),
        tolerances=args.tolerance or (),
        confidence=args.confidence,
    )
    lines = dose_lines(records)
    if not records and not args.json and not at_terminal():
        print("\n".join(lines), file=sys.stderr)
    _print(args, records, table=dose_table(records), lines=lines)
    return DONE


def _compare(args: argparse.Namespace) -> int:
    from suite.comparison.lines import print_comparison, remarks
    from suite.comparison.records import compare

    policy = None
    if args.policy is None and (args.junit or args.markdown):
        raise SuiteError("--junit and --markdown hold a decision; name the policy to decide by with --policy")
    if args.policy is not None:
        from suite.decisions.built_in import get_policy
        from suite.decisions.contradictions import check_policy

        policy = check_policy(get_policy(args.policy))
    found = compare(args.dense, args.compressed, scoring=args.scoring, policy=policy)
    if args.json:
        print(_json(found.records))
    else:
        print_comparison(found)
    for remark in remarks(found):
        print(f"remark: {remark}", file=sys.stderr)
    if found.judged is None:
        return DONE
    from suite.decisions.gate import exit_status

    _write_reports(args, [found.judged])
    return exit_status([found.judged])


def _defer(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import Costs, config_in, protocol_of
    from suite.decisions import deferral, task_shift

    if not args.shift and None in (args.cost_wrong, args.cost_review):
        raise SuiteError("defer needs two costs: give --cost-wrong and --cost-review, such as 10 and 2")
    protocol = protocol_of(config_in(args.run_dir))
    shown: Sequence[str]
    if args.shift:
        records, shown = task_shift.find_shifts(load_cells([args.run_dir]), protocol), task_shift.SHOWN
    else:
        costs = Costs(args.cost_wrong, args.cost_review)
        records, shown = deferral.find_deferrals(load_cells([args.run_dir]), protocol, costs), deferral.SHOWN
    lines = task_shift.shift_lines(records) if args.shift else deferral.deferral_lines(records)
    if not records and not args.json:
        print("\n".join(lines), file=sys.stderr)
        return DONE
    _print(args, records, table=(shown, records), lines=lines)
    return DONE


def _write_reports(args: argparse.Namespace, records: Sequence[Mapping[str, Any]]) -> None:
    """Decisions for pipelines, where a command was asked for them."""
    from suite.decisions.report import junit, markdown
    from suite.files import write_file

    for path, text in ((args.junit, junit), (args.markdown, markdown)):
        if path is not None:
            write_file(path, text(records))


def _policy(args: argparse.Namespace) -> int:
    from suite.decisions.built_in import POLICIES, get_policy
    from suite.decisions.contradictions import findings
    from suite.decisions.policy import policy_hash
    from suite.decisions.show import FLIPS, RIGHT, Expected, record, shown

    if args.what == "lock":
        return _policy_lock(args)
    names = POLICIES if args.what == "list" else args.names
    found = [get_policy(name) for name in names]
    if args.what == "check":
        said = [(policy.name, level, text) for policy in found for level, text in findings(policy)]
        if args.json:
            print(_json([dict(zip(("policy", "level", "text"), one, strict=True)) for one in said]))
        for name, level, text in said if not args.json else ():
            print(f"policy {name}: {level}: {text}", file=sys.stderr if level == "contradiction" else sys.stdout)
        return BAD_INPUT if any(level == "contradiction" for _, level, _ in said) else DONE
    expected = Expected(getattr(args, "flips", FLIPS), getattr(args, "dense_accuracy", RIGHT))
    if args.json:
        print(_json([record(policy, expected) for policy in found]))
    elif args.what == "list":
        print_table(
            ("policy", "criteria", "red_lines", "hash", "source"),
            [(one.name, len(one.criteria), len(one.red_lines), policy_hash(one)[7:15], one.source) for one in found],
        )
    else:
        print("\n\n".join("\n".join(shown(policy, expected)) for policy in found))
    return DONE


def _policy_lock(args: argparse.Namespace) -> int:
    from suite.config import read_config
    from suite.decisions.built_in import get_policy
    from suite.decisions.contradictions import check_policy
    from suite.decisions.lock import lock_text, read_lock
    from suite.files import write_file
    from suite.run.lock import make_lock

    if args.out.exists():
        raise SuiteError(f"{args.out}: is there already; a lock is written once, name another file")
    write_file(args.out, lock_text(make_lock(check_policy(get_policy(args.names[0])), read_config(args.config))))
    print(f"{args.out}  {read_lock(args.out)['lock_hash']}")
    return DONE


def _gate_plan(args: argparse.Namespace, policy: Policy) -> int:
    from suite.config import read_config
    from suite.decisions.gate_plan import plan_lines, plan_records
    from suite.decisions.show import FLIPS, RIGHT, Expected
    from suite.run.plan import sheet_of
    from suite.tasks import TASKS

    expected = Expected(
        FLIPS if args.flips is None else args.flips, RIGHT if args.dense_accuracy is None else args.dense_accuracy
    )
    config = read_config(args.run_dir)
    sheets = [sheet_of(choice) for choice in config.tasks]
    records = plan_records(
        policy,
        {sheet.task.name: len(sheet.questions) for sheet in sheets},
        expected,
        models=len(config.models),
        larger={name: task.items for name, task in TASKS.items() if task.items},
    )
    _print(args, records, lines=plan_lines(records, expected))
    return REVIEW if any(one["never"] for one in records) else DONE


def _gate(args: argparse.Namespace) -> int:
    from suite.cell import load_cells
    from suite.config import config_in
    from suite.decisions.attempts import numbered
    from suite.decisions.built_in import get_policy
    from suite.decisions.contradictions import check_policy
    from suite.decisions.gate import candidates, exit_status, gate_variants
    from suite.decisions.lock import check_cells, read_lock, smallest_accepted
    from suite.decisions.report import SHOWN, gate_lines, gate_table
    from suite.decisions.search import search_cells, search_lines, search_status
    from suite.metrics.replicates import Store
    from suite.publish.failures import read_failures
    from suite.publish.manifest import code_hash
    from suite.verdicts.dose_records import JOINT_KEYS
    from suite.verdicts.given import Given

    policy = check_policy(get_policy(args.policy))
    if args.plan and (args.run_dir is None or args.sequential or args.lock):
        raise SuiteError("gate --plan needs a configuration, and neither --sequential nor --lock")
    if args.search and (args.plan or args.sequential):
        raise SuiteError("--search needs the cells of a run; leave out --plan and --sequential")
    if args.plan:
        return _gate_plan(args, policy)
    if args.flips is not None or args.dense_accuracy is not None:
        raise SuiteError("--flips and --dense-accuracy belong to --plan; give both")
    if args.sequential:
        return _gate_item_by_item(args, policy)
    if args.run_dir is None or args.model or args.dense:
        raise SuiteError("gate needs a run directory or a snapshot, or --model and --dense with --sequential")
    cells = load_cells([args.run_dir])
    lock = None if args.lock is None else read_lock(args.lock)
    if lock is not None:
        check_cells(lock, cells, policy, f"lock {args.lock}")
    attempts = numbered(cells, args.run_dir, candidates(cells, args.variant)) if args.run_dir.is_dir() else {}
    config, failures = config_in(args.run_dir), read_failures(args.run_dir)
    if args.search:
        if config is None:
            raise SuiteError(
                f"{args.run_dir}: no config.yaml in it; --search needs the order of the candidates, as a run has it"
            )
        records = search_cells(
            cells, policy, config=config, variant=args.variant, failures=failures, lock=lock, attempts=attempts
        )
    else:
        records = gate_variants(
            Given.of(cells, config, keep=JOINT_KEYS, store=Store.of(args.run_dir, code_hash())),
            policy,
            variant=args.variant,
            failures=failures,
            lock=lock,
            attempts=attempts,
        )
    _write_reports(args, records)
    _print(args, records, table=(SHOWN, gate_table(records)), lines=gate_lines(records))
    if args.search:
        print("\n".join(search_lines(records)), file=sys.stderr)
        return search_status(records)
    for model in dict.fromkeys(record["model"] for record in records) if lock is not None else ():
        found = smallest_accepted(records, lock or {}, model)
        print(f"{model}: the last accepted in the lock's order: {found or 'none'}", file=sys.stderr)
    return exit_status(records)


def _gate_item_by_item(args: argparse.Namespace, policy: Policy) -> int:
    from suite.decisions.gate import exit_status
    from suite.decisions.item_by_item import FIRST
    from suite.decisions.report import gate_lines
    from suite.run.item_by_item import BATCH, Sides, gate_item_by_item
    from suite.run.prepare import decide

    if not args.model or not args.dense or args.run_dir is not None:
        raise SuiteError("gate --sequential needs --model and --dense, and no run directory")
    try:
        record = gate_item_by_item(
            Sides(args.model, args.dense, args.variant, tuple(args.task), args.limit),
            policy,
            decide(args.dtype, args.device, trust_remote_code=args.trust_remote_code),
            args.out or Path("runs") / "sequential",
            first=FIRST if args.first is None else args.first,
            batch=BATCH if args.batch is None else args.batch,
            seed=args.seed,
            lock=args.lock,
            log=lambda line: print(line, file=sys.stderr),
        )
    except CellFailure as failure:
        print(f"suite: {_one_line(failure)}", file=sys.stderr)
        return REVIEW
    _write_reports(args, [record])
    asked = ", ".join(f"{count} of {name}" for name, count in record["items"].items())
    _print(args, [record], lines=[*gate_lines([record]), f"items: {asked}"])
    return exit_status([record])


def _leaderboard(args: argparse.Namespace) -> int:
    from suite.config import config_in
    from suite.run.pipeline import publish

    path, _ = publish(args.run_dir, config_in(args.run_dir), args.out)
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
    print(f"{args.snapshot}: {report.conclusion}")
    return DONE


def _diff(args: argparse.Namespace) -> int:
    from suite.publish.diff import compare

    comparison = compare(args.first, args.second)
    _print(args, comparison.records(), lines=comparison.lines())
    return DONE


def _export(args: argparse.Namespace) -> int:
    from suite.exporters import export_snapshot

    for path in export_snapshot(args.format, args.snapshot, args.out):
        print(path)
    return DONE


def _import(args: argparse.Namespace) -> int:
    from suite.importers import import_cells, store_cells
    from suite.remarks import remarks
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
        filter=args.filter,
        columns=_columns(args),
    )
    for path in store_cells(cells, args.out, replace=args.replace):
        print(path)
    for note in dict.fromkeys(note for cell in cells for note in remarks(cell).values()):
        print(f"note: {note}", file=sys.stderr)
    return DONE


def _columns(args: argparse.Namespace) -> Columns | None:
    from suite.importers.labels import Columns

    needed = {"--id": args.id, "--answer": args.answer, "--scores": args.scores, "--kind": args.kind}
    missing = [option for option, value in needed.items() if value is None]
    if len(missing) == len(needed) and not (args.subject or args.group or args.where):
        return None
    if missing:
        raise SuiteError(f"parquet: {', '.join(missing)} missing; columns are named by {', '.join(needed)}")
    where: dict[str, str] = {}
    for pair in args.where:
        column, equal, value = pair.partition("=")
        if not equal or not column or where.setdefault(column, value) != value:
            raise SuiteError(f"--where {pair!r}: write COLUMN=VALUE, each column once")
    return Columns(args.id, args.answer, args.scores, args.kind, args.subject, args.group, where)


def _list(args: argparse.Namespace) -> int:
    records, forms = _LISTS[args.what]()
    names = tuple(records[0])
    _print(args, records, table=(names, records + [dict(zip(names, form, strict=True)) for form in forms]))
    return DONE


_Listed = tuple[list[dict[str, object]], list[tuple[str | None, ...]]]
"""Records of what has a name, and in their columns the forms of what has none of its own: shown, and not in JSON."""


def _models() -> _Listed:
    from suite.models.model import EMBEDDED

    records: list[dict[str, object]] = [
        {"name": name, "what": entry.title, "licence": entry.licence} for name, entry in EMBEDDED.items()
    ]
    return records, [
        ("org/name[@revision]", "a model on the hub", None),
        ("DIR", "a folder saved with save_pretrained", None),
        ("FILE.gguf", "a GGUF file", None),
    ]


def _methods() -> _Listed:
    from suite.methods import METHODS

    about = ("levels", "needs", "paper", "recipe", "limits")
    records = [{"name": name, **{key: getattr(method, key) for key in about}} for name, method in METHODS.items()]
    dense = {"name": "dense", **dict.fromkeys(about), "recipe": "the model as it is"}
    joint = "<magnitude|wanda|sparsegpt>+<rtn|gptq>, such as sparsegpt-s50+gptq-w4"
    ready = "a GPTQ, AWQ, compressed-tensors, bitsandbytes or plain checkpoint, or a .gguf: suite score --dense"
    return [dense, *records], [
        ("a+b", joint, None, None, "both, one after the other", None),
        ("DIR", None, None, None, ready, None),
    ]


def _scorers() -> _Listed:
    from suite.score.scorer import BACKENDS

    return [
        {"name": name, "version": scorer.version, "what": (scorer.__doc__ or "").splitlines()[0]}
        for name, scorer in BACKENDS.items()
    ], []


def _tasks() -> _Listed:
    from suite.tasks import TASKS

    records: list[dict[str, object]] = [
        {
            "name": name,
            "kind": task.kind,
            "items": task.items,
            "options": task.options,
            "scoring": task.scoring,
            "licence": task.licence,
            "source": task.source,
            "fetch": task.needs or None,
        }
        for name, task in TASKS.items()
    ]
    asked = (None,) * 5
    return records, [
        ("FILE.jsonl", *asked, "any multiple-choice questions; see docs/tasks.md", None),
        ("FILE.json", *asked, "six-option questions; see docs/tasks.md", None),
    ]


_LISTS: dict[str, Callable[[], _Listed]] = {
    "models": _models,
    "methods": _methods,
    "tasks": _tasks,
    "scorers": _scorers,
}


def _show(args: argparse.Namespace) -> int:
    from suite.score.sheet import make_sheet
    from suite.score.show import as_asked
    from suite.tasks import get_task

    sheet = make_sheet(get_task(args.task), scoring=args.scoring, prompt=args.prompt, shots=args.shots)
    if not args.model:
        print(as_asked(sheet, args.item))
        return DONE
    from suite.models.checkpoint import load_tokenizer
    from suite.models.model import resolve_model

    tokenizer, bos = load_tokenizer(resolve_model(args.model))
    print(as_asked(sheet, args.item, tokenizer=tokenizer, bos=bos))
    return DONE


def _doctor(args: argparse.Namespace) -> int:
    if args.drift:
        from suite.models.device import resolve_device
        from suite.models.model import resolve_model
        from suite.score.sheet import make_sheet
        from suite.score.transformers.drift_check import check_drift
        from suite.tasks import get_task

        sheet = make_sheet(get_task("arc-easy"), limit=64)
        report_of_drift = check_drift(resolve_model(args.drift), sheet, device=resolve_device("auto"))
        print("\n".join(report_of_drift.lines()))
        return DONE
    from suite.doctor import anything_missing, examine, report

    findings = examine()
    print(report(findings))
    return NO if anything_missing(findings) else DONE

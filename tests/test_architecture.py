"""The layout holds: imports point one way, heavy libraries stay on their side of the seam, nothing names a machine.

The seam is the cell file. Left of it (compress, score) models run, and of scoring one folder alone knows networks;
right of it (metrics, verdicts, publish) numbers are computed; both know the nouns and nothing of each other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

NOUNS = ("arrays", "errors", "cell", "variant", "methods", "task", "prompt_name", "checked", "config", "sample_text")
NOUNS += ("models", "files", "grouped", "hub", "remarks", "progress_bars", "tables", "holding")
RIGHT = ("metrics", "verdicts", "decisions", "publish", "comparison")

# What each part of suite/ may import of suite/, besides itself and the nouns.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(NOUNS, ()),
    "compress": (),
    "score": (),
    "metrics": (),
    "verdicts": ("metrics",),
    "decisions": ("metrics", "verdicts"),
    "publish": ("decisions", "verdicts", "metrics"),
    "importers": (),
    "comparison": ("importers", "metrics", "verdicts", "decisions"),
    "exporters": ("publish", "decisions", "verdicts", "metrics"),
    "doctor": (),
    "run": (
        "compress",
        "score",
        "metrics",
        "verdicts",
        "decisions",
        "publish",
        "importers",
        "exporters",
        "tasks",
    ),
    "front_door": (
        "run",
        "importers",
        "publish",
        "decisions",
        "verdicts",
        "metrics",
        "compress",
        "score",
        "tasks",
    ),
}
ANYTHING = ("cli", "__main__", "__init__")

ANALYSIS_LIBRARIES = {"mapie", "netcal", "matplotlib"}
MODEL_LIBRARIES = {"transformers", "tokenizers", "accelerate", "gguf", "safetensors", "llmcompressor"}
NETWORKS = {"torch", *MODEL_LIBRARIES}
# By part, or by folder within it: of scoring, one folder knows networks.
MAY_NOT_USE: dict[str, set[str]] = {
    **dict.fromkeys((*NOUNS, "score"), ANALYSIS_LIBRARIES | NETWORKS),
    **dict.fromkeys(("models", "compress", "score/transformers", "doctor"), ANALYSIS_LIBRARIES),
    **dict.fromkeys((*RIGHT, "importers", "exporters", "run", "front_door"), NETWORKS),
}


def imports(file: Path, package: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, by absolute name; `from a import b` counts as a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(root: Path) -> list[str]:
    """Every import in suite/ and tasks/ under `root` that the tables above forbid."""
    found = set()
    for file in sorted((root / "suite").rglob("*.py")):
        where = file.relative_to(root)
        part = where.parts[1].removesuffix(".py")
        if part in ANYTHING:
            continue
        if part not in MAY_IMPORT:
            found.add(f"{where}: in no layer; give it a place in this test's table")
            continue
        allowed = {part, *NOUNS, *MAY_IMPORT[part]}
        for name in imports(file, ".".join(where.parts[:-1])):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            inside = (root / "suite" / target).is_dir() or (root / "suite" / f"{target}.py").is_file()
            if top == "suite" and target == "tasks":
                if "tasks" not in allowed and part not in NOUNS:
                    found.add(f"{where}: imports tasks")
            elif top == "suite" and target and inside and target not in allowed:
                found.add(f"{where}: imports suite.{target}")
            if top == "tasks":
                found.add(f"{where}: imports tasks by its old name; say suite.tasks")
            if top in MAY_NOT_USE.get("/".join(where.parts[1:3]), MAY_NOT_USE.get(part, set())):
                found.add(f"{where}: imports {top}")
    for file in sorted((root / "tasks").rglob("*.py")):
        where = file.relative_to(root)
        for name in imports(file, "suite.tasks"):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if top == "suite" and target and target not in (*NOUNS, "tasks"):
                found.add(f"{where}: imports suite.{target}")
            if top in ANALYSIS_LIBRARIES:
                found.add(f"{where}: imports {top}")
    return sorted(found)


def test_imports_point_one_way() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("suite/metrics/ece.py", "from suite.publish import table", "imports suite.publish"),
        ("suite/metrics/ece.py", "from suite import score", "imports suite.score"),
        ("suite/metrics/ece.py", "from ..verdicts import collapse", "imports suite.verdicts"),
        ("suite/metrics/ece.py", "def f():\n    import transformers.models", "imports transformers"),
        ("suite/verdicts/scale.py", "import suite.compress.rtn", "imports suite.compress"),
        ("suite/score/cells.py", "def f():\n    import torch", "imports torch"),
        ("suite/run/plan.py", "from transformers import AutoModel", "imports transformers"),
        ("suite/cell.py", "import torch", "imports torch"),
        ("suite/score/transformers/engine.py", "from suite.metrics.ece import ece", "imports suite.metrics"),
        ("suite/score/transformers/engine.py", "from mapie.utils import x", "imports mapie"),
        ("suite/compress/rtn.py", "from suite.score.transformers import engine", "imports suite.score"),
        ("suite/importers/npz.py", "from suite.metrics import ece", "imports suite.metrics"),
        ("suite/cell.py", "from suite.metrics import ece", "imports suite.metrics"),
        ("suite/helpers.py", "", "in no layer"),
        ("tasks/sciq.py", "from suite.score.transformers import engine", "imports suite.score"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    for part in (*RIGHT, "run", "score/transformers", "compress", "importers"):
        (tmp_path / "suite" / part).mkdir(parents=True)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "suite" / "cell.py").write_text("import numpy\nfrom suite.errors import SuiteError\n")
    (tmp_path / "suite" / "publish" / "page.py").write_text("from suite.verdicts import scale\nfrom . import table\n")
    assert violations(tmp_path) == []
    (tmp_path / file).write_text(text)
    assert violations(tmp_path) == [f"{file}: {complaint}" + ("; give it a place in this test's table" * (not text))]


def loaded_at_once(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run when a module is imported: none in functions, none for type checkers alone."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            yield part
        elif not isinstance(part, ast.FunctionDef) and not (
            isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test)
        ):
            yield from loaded_at_once(part)


def check_no_circle(root: Path) -> None:
    """Raise CycleError, which names the modules, where some import one another in a circle."""
    files = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in (root / "suite").rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, file in files.items():
        statements = list(loaded_at_once(ast.parse(file.read_text(encoding="utf-8"))))
        found = {alias.name for one in statements if isinstance(one, ast.Import) for alias in one.names}
        for one in statements:
            if isinstance(one, ast.ImportFrom):
                found |= {str(one.module), *(f"{one.module}.{alias.name}" for alias in one.names)}
        graph[module] = found & files.keys() - {module}
    TopologicalSorter(graph).prepare()


def test_imports_make_no_circle(tmp_path: Path) -> None:
    check_no_circle(ROOT)
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "cell.py").write_text("def late():\n    import suite.task\n")
    (tmp_path / "suite" / "task.py").write_text("from suite import cell\n")
    check_no_circle(tmp_path)
    (tmp_path / "suite" / "cell.py").write_text("from suite.task import Task\n")
    with pytest.raises(CycleError):
        check_no_circle(tmp_path)


def test_netcal_stays_in_one_adapter_and_is_imported_when_used() -> None:
    """It imports torch and takes seconds to load."""
    files = [
        file for file in (ROOT / "suite").rglob("*.py") if "netcal" in {n.split(".")[0] for n in imports(file, "")}
    ]
    assert len(files) <= 1
    for file in files:
        body = ast.parse(file.read_text(encoding="utf-8")).body
        assert not [
            node for node in body if isinstance(node, ast.Import | ast.ImportFrom) and "netcal" in ast.unparse(node)
        ]


def modules_of(*parts: str) -> list[str]:
    """Dotted names of every module that lies in these parts of suite/."""
    files = (file for part in parts for file in sorted((ROOT / "suite" / part).rglob("*.py")))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded once it has run `code`."""
    probe = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *sorted(sys.modules)))
{code}
"""
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return {name.split(".")[0] for name in result.stdout.rsplit("loaded:", 1)[1].split()}


@pytest.mark.parametrize(
    ("parts", "forbidden"),
    [
        (RIGHT, MODEL_LIBRARIES),
        (("importers", "exporters"), MODEL_LIBRARIES),
        (("compress", "score"), ANALYSIS_LIBRARIES),
    ],
)
def test_one_side_of_the_seam_loads_without_the_libraries_of_the_other(
    parts: tuple[str, ...], forbidden: set[str]
) -> None:
    """Whatever the import statements say: also through a noun that imports too much."""
    code = "".join(f"import {name}\n" for name in modules_of(*parts))
    assert loaded_after(code) & forbidden == set()


HEAVY = {"torch", "transformers", "mapie", "netcal", "matplotlib"}


@pytest.mark.parametrize(
    "code",
    [
        "import suite.cli",
        "import runpy\nsys.argv = ['suite', '--help']\nrunpy.run_module('suite', run_name='__main__')",
    ],
)
def test_help_answers_without_loading_a_heavy_library(code: str) -> None:
    if not (ROOT / "suite" / "cli.py").is_file():
        pytest.skip("suite/cli.py is not there yet")
    assert loaded_after(code) & HEAVY == set()


def test_the_probe_sees_what_is_loaded() -> None:
    assert "wave" in loaded_after("import wave")
    assert "wave" not in loaded_after("")


def test_files_are_named_for_what_they_hold() -> None:
    files = [file for part in ("suite", "tasks", "scripts", "tests") for file in (ROOT / part).rglob("*.py")]
    assert files
    assert [str(file) for file in files if file.name in ("utils.py", "base.py", "types.py")] == []


# The brackets keep this file from failing its own test.
FORBIDDEN = re.compile(
    r"/[w]ork/|/[o]pt/|/[r]oot/|/[h]ome/\w|/[U]sers/\w|site[-]packages|[p]ypi\.org|[p]ythonhosted\.org|[d]ownload\.pytorch"
)


def repository_files() -> list[Path]:
    """Every file that is, or is about to be, part of the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if listing.returncode != 0:
        pytest.skip("not a git clone")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for file in repository_files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a Parquet file
        for number, line in enumerate(text.splitlines(), 1):
            if match := FORBIDDEN.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize("path", [*(f"/{top}/x" for top in ("work", "opt", "root")), f"lib/site{'-'}packages/x"])
def test_a_machine_path_is_recognized(path: str) -> None:
    assert FORBIDDEN.search(f"see {path}")
    assert not FORBIDDEN.search("framework/main and a network/opt-out, ~/.cache")


# Words that stand for nothing in particular, so that a reader cannot tell what is behind the name.
OPAQUE = {"planned", "quiet", "norms", "assess", "assessed", "agree", "concluded", "each"}


def named_at_the_top(tree: ast.Module) -> Iterator[str]:
    """Functions, classes and constants of a module, and fields and methods of its classes."""
    for part in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
        for node in part.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_name_is_a_word_that_says_nothing() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for part in ("suite", "tasks")
        for file in sorted((ROOT / part).rglob("*.py"))
        for name in named_at_the_top(ast.parse(file.read_text(encoding="utf-8")))
        if name.strip("_").lower() in OPAQUE
    ]
    assert found == []
    assert list(named_at_the_top(ast.parse("class A:\n    each: int\nKEPT = 1\ndef f(): pass"))) == [
        "A",
        "KEPT",
        "f",
        "each",
    ]


def test_every_folder_of_code_is_a_package() -> None:
    """One without __init__.py is found from a clone and left out of what is installed."""
    folders = {file.parent for part in ("suite", "tasks") for file in (ROOT / part).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []

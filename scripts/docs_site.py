"""What the documentation site is made of, as hooks of mkdocs: README, docs/, the results' pages, as they lie here.

Everything is linked into build/docs under the path that it has in the repository, so that links between files hold on
the site as they do in the repository. mkdocs.yml gives the order; a page of docs/ that it does not name comes last
under Methods.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.notebook import as_markdown, read_notebook  # noqa: E402  # mkdocs runs this file, which lies in no package there

TREE = ROOT / "build" / "docs"
REST = "Methods"


def on_config(config: Any) -> Any:
    """Lay out the tree and point mkdocs to it; headings get the anchors that they have in the repository."""
    from pymdownx.slugs import slugify

    config["mdx_configs"]["toc"]["slugify"] = slugify(case="lower")
    shutil.rmtree(TREE, ignore_errors=True)
    for file in _files():
        place = TREE / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".ipynb":
            place.with_suffix(".md").write_text(as_markdown(read_notebook(file)), encoding="utf-8")
        else:
            place.symlink_to(file)
    config["docs_dir"] = str(TREE)
    config["nav"] = with_rest(config["nav"], sorted(f"docs/{file.name}" for file in (TREE / "docs").glob("*.md")))
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to a notebook lead to the page made of it; thousands of rows of results are not searched for words."""
    if page.file.src_uri.startswith("results/"):
        page.meta["search"] = {"exclude": True}
    return re.sub(r"(\]\([^)#]+)\.ipynb([)#])", r"\1.md\2", markdown)


def with_rest(nav: list[dict[str, list[Any]]], pages: list[str]) -> list[dict[str, list[Any]]]:
    """The navigation with the pages that it does not name."""
    named = {path for group in nav for entries in group.values() for path in map(path_of, entries)}
    rest = [page for page in pages if page not in named]
    return [{title: entries + (rest if title == REST else []) for title, entries in group.items()} for group in nav]


def path_of(entry: str | dict[str, str]) -> str:
    """The file of an entry of the navigation, with a title of its own or without."""
    return entry if isinstance(entry, str) else next(iter(entry.values()))


def _files() -> Iterator[Path]:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        yield ROOT / name
    yield from (file for file in (ROOT / "docs").rglob("*") if file.is_file())
    for snapshot in (ROOT / "results").iterdir():
        cells = snapshot / "cells"
        for file in snapshot.rglob("*"):
            if file.is_file() and cells not in file.parents and not file.name.startswith("."):
                yield file

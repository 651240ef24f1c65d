"""README and docs/: links and anchors lead somewhere, the site's navigation names what is there, the notebook runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import yaml
from support.documents import DOCUMENTS, MARKDOWN, NOTEBOOKS, ROOT, inline, text_of

from scripts.docs_site import on_page_markdown, path_of, with_rest
from scripts.notebook import kept_outputs, read_notebook, run_cells

READ = (".md", ".ipynb")


def links(markdown: str) -> Iterator[str]:
    """Targets of links and pictures that are not on the web, code left out."""
    for token in inline(MARKDOWN.parse(markdown)):
        target = token.attrGet("src" if token.type == "image" else "href")
        if target and not re.match(r"[a-z]+:", str(target)):
            yield unquote(str(target))


def anchors(markdown: str) -> set[str]:
    """Of the headings, as GitHub makes them: small letters, no punctuation, hyphens for spaces, repeats numbered."""
    seen: Counter[str] = Counter()
    found = set()
    tokens = MARKDOWN.parse(markdown)
    for opening, title in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        shown = "".join(part.content for part in title.children or [] if part.type in ("text", "code_inline"))
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(document: Path, markdown: str) -> list[str]:
    """Links of a document that lead nowhere."""
    wrong = []
    for link in links(markdown):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        lost = bool(path) and not target.exists()
        if not lost and anchor and target.suffix in READ:
            lost = anchor not in anchors(text_of(target) if path else markdown)
        wrong += [link] if lost else []
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_links_and_anchors_lead_somewhere(document: Path) -> None:
    assert broken(document, text_of(document)) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two `dots`: a, b-c\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    good = (
        "[a](other.md#two-dots-a-b-c) [b](other.md#twice-1) [c](#here) [d](https://x.org) `[e](gone.md)`\n\n## Here\n"
    )
    bad = "[a](gone.md) ![b](gone.png) [c](other.md#twice-2) [d](#there) [e](other.md#two-dots)\n"
    assert broken(tmp_path / "page.md", good) == []
    assert broken(tmp_path / "page.md", bad) == re.findall(r"\((.*?)\)", bad)


def navigation() -> list[dict[str, list[str | dict[str, str]]]]:
    found: list[dict[str, list[str | dict[str, str]]]] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    return found


def test_the_navigation_names_what_is_there_and_nothing_twice() -> None:
    named = [path_of(entry) for group in navigation() for entries in group.values() for entry in entries]
    made = {file.with_suffix(".md") for file in NOTEBOOKS}
    assert [path for path in named if not (ROOT / path).is_file() and ROOT / path not in made] == []
    assert len(set(named)) == len(named)
    assert [title for group in navigation() for title in group] == [
        "Start",
        "Decide",
        "Read",
        "Reproduce",
        "Methods",
        "Extend",
    ]


def test_a_page_that_nobody_put_in_order_comes_last_under_methods() -> None:
    nav = [{"Start": ["README.md"]}, {"Methods": [{"Dose": "docs/dose.md"}]}, {"Extend": ["docs/house.md"]}]
    found = with_rest(nav, ["docs/dose.md", "docs/house.md", "docs/new.md"])
    assert found == [nav[0], {"Methods": [{"Dose": "docs/dose.md"}, "docs/new.md"]}, nav[2]]


def test_nothing_of_the_site_is_fetched_from_a_network() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert config["theme"]["font"] is False
    assert {"search", "offline"} <= set(config["plugins"])
    local = [*config["extra"]["polyfills"], *config["extra_css"], *config["extra_javascript"]]
    assert [name for name in local if not (ROOT / name).is_file()] == []
    assert not re.search(r"https?://", "".join((ROOT / name).read_text() for name in local))
    assert not [document.name for document in DOCUMENTS if "```mermaid" in text_of(document)]


def test_links_to_a_notebook_lead_to_its_page() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="docs/x.md"), meta={})
    assert on_page_markdown("[a](b.ipynb) [c](d.ipynb#e) `f.ipynb`", page) == "[a](b.md) [c](d.md#e) `f.ipynb`"


def numbers_apart(text: str) -> tuple[str, list[float]]:
    pattern = r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-])"
    return re.sub(pattern, "#", text), [float(number) for number in re.findall(pattern, text)]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_prints_what_it_shows(file: Path) -> None:
    notebook = read_notebook(file)
    assert len(notebook["cells"]) <= 10
    for printed, kept in zip(run_cells(notebook), kept_outputs(notebook), strict=True):
        (words, numbers), (kept_words, kept_numbers) = numbers_apart(printed), numbers_apart(kept)
        assert words == kept_words
        assert numbers == pytest.approx(kept_numbers, rel=2e-3, abs=2e-3)


def test_a_notebook_is_what_jupyter_reads() -> None:
    assert NOTEBOOKS
    for file in NOTEBOOKS:
        notebook = json.loads(file.read_text(encoding="utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}
        assert all(cell["execution_count"] is None for cell in notebook["cells"] if cell["cell_type"] == "code")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    mkdocs = ROOT / ".venv-docs" / "bin" / "mkdocs"
    if not mkdocs.is_file():
        pytest.skip("no environment for the site; 'make docs' makes it")
    built = subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    fetched = r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//'
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    assert [page.name for page in pages if re.search(fetched, page.read_text(encoding="utf-8"))] == []

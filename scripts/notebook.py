"""Run a notebook of docs/ from its first cell to its last, without Jupyter.

`python -m scripts.notebook FILE` writes what it prints into it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def read_notebook(file: Path) -> dict[str, Any]:
    """The notebook as Jupyter stores it (format 4)."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def run_cells(notebook: dict[str, Any]) -> list[str]:
    """What each code cell prints, run in order in one namespace; "" where it prints nothing."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for cell in code_cells(notebook):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("".join(cell["source"]), f"<{cell['id']}>", "exec"), names)
        printed.append(out.getvalue())
    return printed


def kept_outputs(notebook: dict[str, Any]) -> list[str]:
    """What the file says that each code cell prints."""
    return ["".join(text for out in cell["outputs"] for text in out["text"]) for cell in code_cells(notebook)]


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Its cells of code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def as_markdown(notebook: dict[str, Any]) -> str:
    """The notebook as a page: text, code, and what it prints."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [f"```text\n{''.join(out['text']).rstrip()}\n```" for out in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def main(file: Path) -> None:
    """Run it and put what it prints into the file."""
    notebook = read_notebook(file)
    for cell, text in zip(code_cells(notebook), run_cells(notebook), strict=True):
        lines = text.splitlines(keepends=True)
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
    file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

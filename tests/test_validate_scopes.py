"""The study of floors and recipes writes its tables where docs/dose.md has them, from draws of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.studies.validate_scopes import main


def test_both_tables_are_written_again(tmp_path: Path) -> None:
    document = tmp_path / "dose.md"
    marks = [f"<!-- {name} -->\nold\n<!-- /{name} -->" for name in ("floor errors", "seed errors")]
    document.write_text("\n\nwords\n\n".join(marks), encoding="utf-8")
    assert main(["--draws", "20", "--document", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.count("words") == 1
    two = {line.split(" | ")[1]: re.findall(r"\.\d{3}", line) for line in text.splitlines() if line.startswith("| 2 |")}
    # 4,000 draws: Satterthwaite's rule errs in .083 where seeds differ ten times as much as items, the other in .042
    assert float(two["Satterthwaite"][4]) > 0.06 > float(two["margins as squares"][4])


def test_a_document_without_the_place_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "dose.md"
    document.write_text("nothing here", encoding="utf-8")
    with pytest.raises(SystemExit, match="no <!-- floor errors -->"):
        main(["--document", str(document)])

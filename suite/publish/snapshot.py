"""A snapshot: everything a leaderboard publishes in one folder, from the stored scores to the page.

    manifest.json  config.yaml  environment.json  cells/  rows.csv  rows.parquet  ranking.csv  equal-megabytes.csv
    verdicts.json  decoupling.json  scale.json  doses.json  accuracy_alone.json  deferral.json  [slice_verdicts.json]
    [gate.json]  LEADERBOARD.md  index.html  figures/

`suite verify` makes the tables again from the cells and compares.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.cell import Cell, load_cells
from suite.config import RunConfig, protocol_of
from suite.decisions.analyses import ANALYSES, DOSES, Judgement, judge_cells
from suite.errors import SuiteError
from suite.files import file_digest, json_bytes, write_file
from suite.metrics.replicates import Store
from suite.metrics.seed_spread import seed_spread
from suite.publish.doses import EXPLORATORY, Lead, lead_of
from suite.publish.failures import read_failures
from suite.publish.figures import FOLDER, KINDS, Picture, draw_figures, draw_strips, draw_verdict_figures
from suite.publish.formulas import numbers
from suite.publish.manifest import NAME as MANIFEST
from suite.publish.manifest import (
    bytes_digest,
    code_hash,
    code_origin,
    describe,
    manifest_bytes,
    read_environment,
    read_manifest,
)
from suite.publish.numerals import rounded
from suite.publish.order import in_order
from suite.publish.pages.html import html_page
from suite.publish.pages.markdown import markdown_page
from suite.publish.records import csv_bytes, parquet_bytes
from suite.publish.sections.answer import answers
from suite.publish.sections.highlights import published_highlights
from suite.publish.sections.page import leaderboard_page
from suite.publish.standings import Standings, collect, standings, standings_texts
from suite.publish.unfinished import unfinished

TAKEN = ("config.yaml", "environment.json")
"""Files of a run directory that a snapshot keeps as they are, besides the cells."""


@dataclass(frozen=True)
class Computed:
    """Everything that follows from the cells of a folder.

    Attributes:
        rows: rounded and sorted, as published.
        standings: groups and pairs of equal size.
        judgement: what the analyses found.
        records: the same as contents of their files by name, as published.
        lead: the measure that carries the answer on doses.
        unfinished: what is said where the configuration asks for more cells; else empty.
    """

    cells: list[Cell]
    rows: list[dict[str, object]]
    standings: Standings
    failures: list[dict[str, Any]]
    judgement: Judgement
    records: dict[str, list[Any]]
    lead: Lead = EXPLORATORY
    unfinished: str = ""

    def pictures(self, rows: Sequence[Mapping[str, object]], *, draw: bool = True) -> list[Picture]:
        """Every figure; with `draw` false their names and captions alone."""
        found = draw_figures(rows, self.cells, draw=draw)
        found += draw_verdict_figures(rows, self.judgement, found, draw=draw)
        return self.strips(draw=draw) + found

    def strips(self, *, draw: bool = True) -> list[Picture]:
        """The first figure, where there is a curve."""
        return draw_strips(self.records.get(DOSES, ()), self.lead.metric, draw=draw)


def compute(folder: Path, config: RunConfig | None, *, store: Store | None = None) -> Computed:
    """Rows, standings and verdicts of the cells in a run directory or a snapshot.

    Args:
        config: as run; None for the default protocol (imported cells).
        store: where measurements are kept; a verifier has none and measures anew.

    Raises:
        SuiteError: no cells, or a damaged one.
    """
    cells = load_cells([folder])
    measured, judgement = judge_cells(cells, config, store=store)
    failures = read_failures(folder)
    ordered = in_order([rounded(one.row) for one in measured])
    return Computed(
        cells=cells,
        rows=[dict(row) for row in ordered],
        standings=standings(ordered, collect(measured, protocol_of(config))),
        failures=failures,
        judgement=judgement,
        records=judgement.files(),
        lead=lead_of(config),
        unfinished=unfinished(config, cells, failures),
    )


def snapshot_texts(
    computed: Computed,
    rows: Sequence[Mapping[str, object]],
    pictures: Sequence[Picture],
    *,
    records: Mapping[str, list[Any]] | None = None,
) -> dict[str, bytes]:
    """Every text file that is made from the cells, by name: the same input gives the same bytes.

    Args:
        computed: standings, failures, and verdicts unless given.
        rows: the rows to publish; a verifier passes those of the snapshot.
        pictures: names and captions of the figures.
        records: contents of the verdict files; a verifier passes those of the snapshot.
    """
    said = computed.records if records is None else records
    page = leaderboard_page(
        rows,
        pictures,
        computed.failures,
        standings=computed.standings,
        records=said,
        drawn=seed_spread(rows, computed.cells),
        lead=computed.lead,
        unfinished=computed.unfinished,
    )
    texts = {"rows.csv": csv_bytes(rows)} | standings_texts(computed.standings)
    texts["LEADERBOARD.md"] = markdown_page(page).encode("utf-8", errors="replace")
    texts["index.html"] = html_page(page, rows, computed.cells, computed.standings)
    return texts | {name: json_bytes(content) for name, content in said.items()}


def write_snapshot(run_dir: str | Path, config: RunConfig | None, out: str | Path) -> tuple[Path, list[str]]:
    """Write the snapshot of a run directory.

    A new or empty folder, and one that holds a snapshot and nothing else, is replaced as a whole: readers see the old
    snapshot or the new one. In the run directory itself the files are replaced one by one and the manifest last; a
    snapshot that was interrupted there does not verify.

    Args:
        run_dir: holds the cells.
        config: as run; None for the default protocol (imported cells).
        out: folder of the snapshot, which may be the run directory itself.

    Returns:
        The path of LEADERBOARD.md, and the sentences that say what to look at first.

    Raises:
        SuiteError: no cells, a damaged one, a folder that holds something else, or a full disk.
    """
    run_dir, out = Path(run_dir), Path(out)
    in_place = out.resolve() == run_dir.resolve()
    if not in_place:
        _check_free(out)
    computed = compute(run_dir, config, store=Store.of(run_dir, code_hash(), strict=True))
    pictures = computed.pictures(computed.rows)
    made = snapshot_texts(computed, computed.rows, pictures)
    made["rows.parquet"] = parquet_bytes(computed.rows)
    made |= {f"{FOLDER}/{picture.name}": picture.content for picture in pictures}
    taken = taken_files(run_dir)
    checksums = {name: file_digest(run_dir / name) for name in taken}
    checksums |= {name: bytes_digest(content) for name, content in made.items()}
    description = describe(
        computed.cells,
        protocol=protocol_of(config),
        config=config,
        environment=read_environment(run_dir),
    )
    made[MANIFEST] = manifest_bytes(description, checksums, code_origin(), numbers())
    if in_place:
        _replace_files(out, made)
    else:
        _replace_folder(out, made, {name: run_dir / name for name in taken})
    said = answers(computed.records, computed.lead)
    return out / "LEADERBOARD.md", said + published_highlights(computed.rows)


def write_tables(run_dir: Path, config: RunConfig | None) -> Path:
    """Write tables, page and strips of a run that is going on, in its directory; without manifest, no snapshot yet.

    Returns:
        The path of LEADERBOARD.md.

    Raises:
        SuiteError: no cells, a damaged one, or a full disk.
    """
    computed = compute(run_dir, config, store=Store.of(run_dir, code_hash(), strict=True))
    strips = computed.strips()
    made = {f"{FOLDER}/{picture.name}": picture.content for picture in strips}
    for name, content in (made | snapshot_texts(computed, computed.rows, strips)).items():
        write_file(run_dir / name, content)
    return run_dir / "LEADERBOARD.md"


def taken_files(folder: Path) -> list[str]:
    """Paths, relative to a folder, of what a snapshot keeps as it is: configuration, environment, cells, failures."""
    cells = [
        file.relative_to(folder).as_posix()
        for file in sorted((folder / "cells").rglob("*"))
        if file.is_file() and not _hidden(file.relative_to(folder)) and file.name.endswith((".parquet", ".failed.json"))
    ]
    return [*(name for name in TAKEN if (folder / name).is_file()), *cells]


def present_files(folder: Path) -> list[str]:
    """Every file in a snapshot's folder but the manifest and what starts with a dot (working files of a run)."""
    found = (file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file() or file.is_symlink())
    return [path.as_posix() for path in found if not _hidden(path) and path.as_posix() != MANIFEST]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _check_free(out: Path) -> None:
    """Refuse a folder whose files a new snapshot would take away."""
    if out.exists() and not out.is_dir():
        raise SuiteError(f"{out}: is a file; name a folder for the snapshot")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise SuiteError(f"{out}: holds files that are no snapshot; name a new or an empty folder")
    manifest, _ = read_manifest(out)
    foreign = sorted(set(present_files(out)) - set(manifest.get("files", {})))
    if foreign:
        raise SuiteError(f"{out}: {foreign[0]} is not part of the snapshot there; move it, or name another folder")


def _replace_files(out: Path, made: Mapping[str, bytes]) -> None:
    for name, content in made.items():
        if name != MANIFEST:
            write_file(out / name, content)
    for name in set(ANALYSES) - set(made):
        (out / name).unlink(missing_ok=True)
    for stale in [file for kind in KINDS for file in (out / FOLDER).glob(kind)]:
        if f"{FOLDER}/{stale.name}" not in made:
            stale.unlink()
    write_file(out / MANIFEST, made[MANIFEST])


def _replace_folder(out: Path, made: Mapping[str, bytes], taken: Mapping[str, Path]) -> None:
    staged = out.with_name(f".{out.name}.{os.getpid()}.partial")
    aside = out.with_name(f".{out.name}.{os.getpid()}.old.partial")
    try:
        for name, source in taken.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staged / name)
        for name, content in made.items():
            write_file(staged / name, content)
        if out.is_dir() and any(out.iterdir()):
            out.rename(aside)
        staged.rename(out)
    except OSError as error:
        if aside.is_dir() and not out.exists():
            aside.rename(out)
        raise SuiteError(
            f"cannot write {out}: {error.strerror or error}; free some disk space or name another folder"
        ) from error
    finally:
        for folder in (staged, aside):
            with suppress(OSError):
                shutil.rmtree(folder)

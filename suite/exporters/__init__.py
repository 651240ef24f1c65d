"""A snapshot in the formats of others: which there are, and how one is written.

Every exporter turns the published rows into files and computes nothing; numbers are those of rows.parquet and of
doses.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from suite.config import config_in
from suite.decisions.analyses import DOSES
from suite.errors import SuiteError, unknown_name
from suite.exporters import every_eval_ever, lm_eval, model_card
from suite.exporters.source import Source
from suite.files import parse_json, read_text, write_file
from suite.publish.doses import lead_of
from suite.publish.manifest import read_manifest

EXPORTERS: Mapping[str, Callable[[Source], dict[str, bytes]]] = {
    "eee": every_eval_ever.export,
    "lm-eval": lm_eval.export,
    "model-card": model_card.export,
}
"""Format to a function from a snapshot to files by relative path."""


def export_snapshot(kind: str, snapshot: str | Path, out: str | Path) -> list[Path]:
    """Write a snapshot in another format.

    Returns:
        The files, in order.

    Raises:
        SuiteError: an unknown format, a folder that is no snapshot or was edited, or one that cannot be written.
    """
    if kind not in EXPORTERS:
        raise unknown_name("export format", kind, EXPORTERS)
    snapshot, out = Path(snapshot), Path(out)
    manifest, problems = read_manifest(snapshot)
    if problems:
        raise SuiteError(f"{snapshot}: {problems[0]}; 'suite verify' says more")
    file = snapshot / "rows.parquet"
    if not file.is_file():
        raise SuiteError(f"{snapshot}: no rows.parquet; 'suite verify' says what is missing")
    rows = pq.read_table(file).to_pylist()
    stored = snapshot / DOSES
    doses = parse_json(read_text(stored), str(stored)) if stored.is_file() else []
    if not isinstance(doses, list) or not all(isinstance(one, dict) for one in doses):
        raise SuiteError(f"{stored}: not a list of records; 'suite verify' says more")
    files = EXPORTERS[kind](Source(rows, manifest, doses, lead_of(config_in(snapshot))))
    for name, content in sorted(files.items()):
        write_file(out / name, content)
    return [out / name for name in sorted(files)]

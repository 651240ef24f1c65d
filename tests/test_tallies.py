"""Counts of a study's draws add up, are never mixed or counted twice, and the documents' tables follow from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scripts.markers import kept_block
from scripts.studies import (
    change_errors,
    validate_decoupling,
    validate_detector,
    validate_dose,
    validate_intervals,
)
from scripts.studies.tallies import Tally, grow, in_turns, rate, read_tallies, write_tallies
from suite.verdicts.damage import damage_paths

DOCS = Path(__file__).resolve().parent.parent / "docs"


def errors(seeds: Sequence[int]) -> Counter[str]:
    """A study in which every third draw errs and every second one claims."""
    return Counter({"errs": sum(seed % 3 == 0 for seed in seeds), "claims": sum(seed % 2 for seed in seeds)})


def jobs(file: Path, draws: int, turns: int) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    for key, seeds in in_turns({"a": draws, "b": draws // 2}, read_tallies(file, 1), turns=turns):
        yield key, seeds, seeds


def test_counts_of_parts_are_the_counts_of_the_whole(tmp_path: Path) -> None:
    parts, whole = tmp_path / "parts.json", tmp_path / "whole.json"
    for draws in (7, 30, 100):
        grow(parts, 1, jobs(parts, draws, 3), errors)
    grow(whole, 1, jobs(whole, 100, 1), errors)
    assert parts.read_text() == whole.read_text()
    assert read_tallies(whole, 1)["a"] == Tally(frozenset(range(100)), Counter({"errs": 34, "claims": 50}))
    assert read_tallies(whole, 1)["b"].draws == 50


def test_a_run_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    file, made = tmp_path / "counts.json", []

    def cut(seeds: Sequence[int]) -> Counter[str]:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(tuple(seeds))
        return errors(seeds)

    with pytest.raises(KeyboardInterrupt):
        grow(file, 1, jobs(file, 40, 4), cut)
    assert sum(one.draws for one in read_tallies(file, 1).values()) == sum(map(len, made))
    left = [seeds for _, seeds, _ in jobs(file, 40, 4)]
    assert len(left) == 8 - 3
    assert grow(file, 1, jobs(file, 40, 4), errors)["a"] == Tally(frozenset(range(40)), errors(range(40)))


def test_all_conditions_grow_together() -> None:
    turns = list(in_turns({"a": 4, "b": 2}, {}, turns=2))
    assert turns == [("a", (0, 1)), ("b", (0,)), ("a", (2, 3)), ("b", (1,))]


def test_no_draw_counts_twice() -> None:
    with pytest.raises(ValueError, match=r"counted twice: draws \[\[2, 4\], \[9, 9\]\]"):
        Tally(frozenset([1, 2, 3, 4, 9])) + Tally(frozenset([2, 3, 4, 9, 10]))


def test_counts_of_another_version_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "counts.json"
    write_tallies(file, 1, {"a": Tally(frozenset([0]), Counter({"errs": 1}))})
    assert read_tallies(file, 2) == {}
    assert "counts of version 1 are left out, the study is at 2" in capsys.readouterr().err
    found = grow(file, 2, [("a", [5], [5])], errors)
    assert found == {"a": Tally(frozenset([5]), Counter({"claims": 1}))}
    assert json.loads(file.read_text())["version"] == 2


def test_several_processes_count_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    grow(one, 1, jobs(one, 12, 3), errors)
    grow(two, 1, jobs(two, 12, 3), errors, processes=2)
    assert one.read_text() == two.read_text()


def test_a_rate_has_its_one_sided_bound() -> None:
    # by hand: no error in n draws bounds the rate by 1 - 0.05 ** (1 / n)
    assert rate(0, 100) == f"0.000 (≤ {1 - 0.05 ** (1 / 100):.3f})"
    assert rate(3, 3) == "1.000 (≤ 1.000)"


def test_conditions_have_names_of_their_own() -> None:
    for names in (
        [one.title for one in validate_dose.conditions()],
        [one.title for one in validate_detector.settings()],
    ):
        assert len(set(names)) == len(names)


def test_tables_of_the_dose_follow_from_the_counts_kept() -> None:
    kept = read_tallies(validate_dose.COUNTS, validate_dose.VERSION)
    marks = validate_dose.START, validate_dose.END
    assert f"{marks[0]}\n{validate_dose.tables(kept)}\n{marks[1]}" == kept_block(DOCS / "dose.md", *marks)


def test_tables_of_the_detector_follow_from_the_counts_kept() -> None:
    if not validate_detector.COUNTS.is_file():
        pytest.skip("no counts of the detector yet")
    kept = read_tallies(validate_detector.COUNTS, validate_detector.VERSION)
    for name, text in validate_detector.tables(kept).items():
        start, end = validate_detector.marks(name)
        assert f"{start}\n{text}\n{end}" == kept_block(DOCS / "detector.md", start, end)


def test_tables_of_decoupling_follow_from_the_counts_kept() -> None:
    if not validate_decoupling.COUNTS.is_file():
        pytest.skip("no counts of decoupling yet")
    kept = read_tallies(validate_decoupling.COUNTS, validate_decoupling.VERSION)
    for name, table in (("label errors", validate_decoupling.label_errors), ("edges", validate_decoupling.edges)):
        start, end = validate_decoupling.MARKERS[name]
        assert f"{start}\n{table(kept)}\n{end}" == kept_block(DOCS / "decoupling.md", start, end)


def test_the_table_of_changes_follows_from_the_counts_kept() -> None:
    kept = read_tallies(change_errors.COUNTS, change_errors.VERSION)
    start, end = validate_intervals.CHANGES_START, validate_intervals.CHANGES_END
    assert f"{start}\n{change_errors.section(kept)}\n{end}" == kept_block(DOCS / "intervals.md", start, end)


def test_the_edge_of_coupled_alone_is_judged_as_if_damage_had_been_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out, damage that flips no answer, explains nothing; where an answer flips, nothing is left out."""
    monkeypatch.setattr(validate_decoupling, "excess_spread", lambda _: 1.2)
    short = [validate_decoupling.coupled_alone(100, draw) for draw in range(2)]
    assert all(one.total() == 3 for one in short)
    with monkeypatch.context() as measured:
        measured.setattr(validate_decoupling, "_undamaged", damage_paths)
        assert [validate_decoupling.coupled_alone(100, draw) for draw in range(2)] == short
    monkeypatch.setattr(validate_decoupling, "coupled_edge", validate_decoupling.gaussian)
    with pytest.raises(ValueError, match="an answer has flipped"):
        validate_decoupling.coupled_alone(100, 0)

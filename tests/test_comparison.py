"""`suite compare`: two lm-eval runs, cells or JSONL files against each other, held to what their files say."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from support.lm_eval_files import Line, generation_lines, option_lines, write_run

from suite.cell import make_cell, write_cell
from suite.cli import main
from suite.comparison.pairs import pair_sides
from suite.comparison.records import compare, judge_pairs, record_of
from suite.config import Protocol
from suite.decisions.policy import Criterion, Policy
from suite.errors import SuiteError
from suite.importers import import_cells
from suite.importers.sides import read_side
from suite.metrics import rows
from suite.metrics.folds import hashed_folds
from suite.metrics.mapie_adapter import _pass_through
from suite.metrics.rows import rows_against

QUICK = Protocol("exact", 0.1, 6, 0, 0)


def scores_of(n: int, seed: int, *, options: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-likelihoods by dense, by a noisier model, and the right answers."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, options, n)
    raw = rng.normal(size=(n, options))
    raw[np.arange(n), answers] += rng.normal(1.5, 1.5, n)
    noisy = raw + 0.9 * rng.normal(size=raw.shape)
    return raw - 12, noisy - 12, answers


def quick(dense: Path, compressed: Path, *, scoring: str | None = None) -> dict[str, dict[str, Any]]:
    """The records by task, without bootstrap."""
    pairs, _ = pair_sides(read_side(dense, scoring=scoring), read_side(compressed, scoring=scoring))
    return {pair.task: record_of(pair, dense="d", compressed="c", protocol=QUICK) for pair in pairs}


def two_runs(
    folder: Path, lines: Callable[[np.ndarray, np.ndarray], list[Line]], n: int = 60, seed: int = 1
) -> tuple[Path, Path]:
    dense, compressed, answers = scores_of(n, seed)
    return (
        write_run(folder / "dense", {"birds": lines(dense, answers)}, model="org/big"),
        write_run(folder / "small", {"birds": lines(compressed, answers)}, model="org/big-int4"),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_runs(tmp_path_factory.mktemp("runs"), lambda s, a: option_lines("birds", s, a), n=150)


@pytest.fixture(scope="module")
def record(runs: tuple[Path, Path]) -> dict[str, Any]:
    (found,) = compare(*runs).records
    return found


def tango_bound(lost: int, gained: int, n: int) -> float:
    """The loss of which less than was seen has probability .05: by Tango's closed form and bisection."""
    low, high = (lost - gained) / n, 0.999
    for _ in range(60):
        limit = (low + high) / 2
        b = (2 * n - lost + gained) * limit - lost - gained
        q = (math.sqrt(b * b + 8 * n * gained * limit * (1 - limit)) - b) / (4 * n)
        z = (lost - gained - n * limit) / math.sqrt(n * (2 * q + limit * (1 - limit)))
        low, high = (low, limit) if z < -1.6448536 else (limit, high)
    return low


def logged(folder: Path, task: str = "birds") -> list[Line]:
    (path,) = folder.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestOneTask:
    def test_accuracies_flips_and_mcnemar_are_those_of_the_files(self, runs: Any, record: dict[str, Any]) -> None:
        dense, small = ([line["acc"] > 0 for line in logged(folder)] for folder in runs)
        pairs = list(zip(dense, small, strict=True))
        to_wrong, to_right = pairs.count((True, False)), pairs.count((False, True))
        assert to_wrong > to_right > 3
        assert record["accuracy_dense"] == pytest.approx(np.mean(dense))
        assert record["accuracy"] == record["accuracy_lm_eval"] == pytest.approx(np.mean(small))
        assert record["flips_to_wrong"] == pytest.approx(to_wrong / 150)
        assert record["flips_to_right"] == pytest.approx(to_right / 150)
        expected = mcnemar([[0, to_wrong], [to_right, 0]], exact=True).pvalue
        assert record["mcnemar_p"] == pytest.approx(expected, rel=1e-12)
        loss = (to_wrong - to_right) / 150
        assert record["lost_at_least"] < loss < record["lost_at_most"]

    def test_everything_else_is_what_the_rows_of_the_imported_cells_say(
        self, runs: Any, record: dict[str, Any]
    ) -> None:
        cells = [
            import_cells("lm-eval", folder, model="m", variant=variant, task="birds")[0]
            for folder, variant in zip(runs, ("dense", "rtn-w4-g32"), strict=True)
        ]
        dense, row = rows_against(cells[0], [cells[1]], Protocol())
        for key, value in row.items():
            if key not in ("model", "variant", "method", "family", "notes"):
                assert record[key] == value, key
        for key in ("accuracy", "brier_ts", "set_size", "lac_set_size"):
            assert record[f"{key}_dense"] == dense[key]  # type: ignore[literal-required]

    def test_the_record_has_the_agreed_keys(self, record: dict[str, Any]) -> None:
        agreed = ["accuracy_dense", "mcnemar_p", "brier_ts", "brier_ts_change", "lac_transfer_set_size"]
        agreed += ["accuracy_change_detectable", "lac_transfer_coverage", "flips_to_wrong", "flips_to_right"]
        assert all(isinstance(record[key], float) for key in agreed)
        assert (record["model"], record["variant"], record["dense"]) == ("org/big", "org/big-int4", "org/big")
        json.dumps(record, allow_nan=False)

    def test_swapped_sides_turn_the_signs(self, runs: tuple[Path, Path]) -> None:
        one, other = quick(*runs)["birds"], quick(*reversed(runs))["birds"]
        # so much 150 items can always hide; and "more was lost" takes half an answer off what was seen
        hidden = 1 - 0.05 ** (1 / 150)
        assert other["lost_at_most"] == pytest.approx(max(-one["lost_at_least"], hidden), abs=1 / 150)
        assert other["lost_at_least"] == pytest.approx(-one["lost_at_most"], abs=1 / 150)
        assert other["flips_to_wrong"] == one["flips_to_right"]
        assert other["mcnemar_p"] == one["mcnemar_p"]
        assert other["brier_ts_change"] == pytest.approx(-one["brier_ts_change"])
        assert (other["accuracy"], other["brier_ts"]) == (one["accuracy_dense"], one["brier_ts_dense"])

    def test_the_order_of_the_lines_changes_nothing(self, runs: tuple[Path, Path], tmp_path: Path) -> None:
        shuffled = write_run(tmp_path, {"birds": logged(runs[1])[::-1]}, model="org/big-int4")
        assert quick(runs[0], shuffled)["birds"] == quick(*runs)["birds"]

    def test_single_files_say_the_same_as_the_folders(self, runs: tuple[Path, Path]) -> None:
        files = [next(folder.rglob("samples_*")) for folder in runs]
        assert quick(*files)["birds"] == quick(*runs)["birds"]

    def test_norm_divides_by_characters(self, runs: tuple[Path, Path]) -> None:
        record = quick(*runs, scoring="norm")["birds"]
        for folder, key in zip(runs, ("accuracy_dense", "accuracy"), strict=True):
            assert record[key] == pytest.approx(np.mean([line["acc_norm"] for line in logged(folder)]))
        assert record["metric"] == "acc_norm"

    def test_transferred_coverage_and_size_are_mapies(self, runs: tuple[Path, Path]) -> None:
        from mapie.classification import SplitConformalClassifier

        record = quick(*runs)["birds"]
        sides, answers = [], np.array([])
        for folder in runs:
            lines = sorted(logged(folder), key=lambda line: f"birds/{line['doc_id']}#{line['doc_hash'][:8]}")
            raw = np.array([[np.float32(value) for value, _ in line["filtered_resps"]] for line in lines], dtype=float)
            sides.append(np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True))
            answers = np.array([line["doc"]["gold"] for line in lines])
        folds = hashed_folds([f"birds/{line['doc_id']}#{line['doc_hash'][:8]}" for line in lines], splits=6)
        found = []
        for fold, test in zip(folds.conformal, folds.test, strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = SplitConformalClassifier(
                    _pass_through(4), confidence_level=0.9, conformity_score="lac", prefit=True
                )
                model.conformalize(sides[0][fold], answers[fold])
                sets = model.predict_set(sides[1][test])[1][:, :, 0]
            found.append((sets[np.arange(len(test)), answers[test]].mean(), sets.sum(axis=1).mean()))
        coverage, size = np.mean(found, axis=0)
        assert record["lac_transfer_coverage"] == pytest.approx(coverage)
        assert record["lac_transfer_set_size"] == pytest.approx(size)

    def test_the_bounds_are_tangos(self, runs: tuple[Path, Path]) -> None:
        record = quick(*runs)["birds"]
        dense, small = (np.array([line["acc"] for line in logged(folder)]) for folder in runs)
        lost, gained = int((dense > small).sum()), int((dense < small).sum())
        assert record["lost_at_most"] == pytest.approx(tango_bound(lost, gained, 150), abs=2e-4)
        # the other way round, of half an answer less that was lost
        assert record["lost_at_least"] == pytest.approx(-tango_bound(gained, lost, 150) - 0.5 / 150, abs=1e-3)


class TestTies:
    def test_the_credit_is_shared_and_the_first_counts_for_lm_eval(self, tmp_path: Path) -> None:
        dense = np.full((120, 2), -1.0)  # every item tied, the first right in two of three
        dense[::4, 0] = -2.0
        answers = np.where(np.arange(120) % 3 == 0, 1, 0)
        folders = [
            write_run(tmp_path / name, {"t": option_lines("t", scores, answers.tolist())})
            for name, scores in (("a", dense), ("b", np.where(np.arange(2) == answers[:, None], -1.0, -3.0)))
        ]
        record = quick(*folders)["t"]
        tied = np.arange(120) % 4 != 0
        shared = np.where(tied, 0.5, answers == 1)
        first = np.where(tied, answers == 0, answers == 1)
        assert record["accuracy_dense"] == pytest.approx(shared.mean())
        assert record["accuracy_lm_eval_dense"] == pytest.approx(first.mean())
        assert abs(shared.mean() - first.mean()) > 0.1

    def test_it_is_said_beside(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        answers = [0] * 120
        tied, sure = np.full((120, 2), -1.0), np.tile([-1.0, -3.0], (120, 1))
        folders = [
            write_run(tmp_path / name, {"t": option_lines("t", scores, answers)})
            for name, scores in (("a", tied), ("b", sure))
        ]
        assert main(["compare", *map(str, folders)]) == 0
        said = capfd.readouterr().err
        assert "t: acc of dense is 1 by the first of tied options, 0.5 with the credit shared" in said


class TestGroups:
    SIZES: ClassVar = {"zoo_birds": 40, "zoo_cats": 90, "zoo_dogs": 20}

    def runs(self, folder: Path, *, alike: bool, said: float | None = None) -> tuple[Path, Path, list[np.ndarray]]:
        sides: list[dict[str, list[Line]]] = [{}, {}]
        right: list[list[np.ndarray]] = [[], []]
        for number, (task, n) in enumerate(self.SIZES.items()):
            dense, small, answers = scores_of(n, 20 + number)
            for side, scores in enumerate((dense, small)):
                sides[side][task] = option_lines(task, scores, answers)
                right[side].append(scores.argmax(axis=1) == answers)
        folders = []
        for side, name in enumerate(("a", "b")):
            means = [part.mean() for part in right[side]]
            value = np.mean(means) if alike else np.concatenate(right[side]).mean()
            value = float(value) if said is None else said
            groups = {"zoo": ["zoo_birds", "zoo_pets"], "zoo_pets": ["zoo_cats", "zoo_dogs"]}
            values = {"zoo": {"acc,none": value, "acc_stderr,none": 0.1}, "zoo_pets": {"acc,none": 0.5}}
            folders.append(write_run(folder / name, sides[side], groups=groups, group_values=values))
        lost = [dense.astype(float) - small for dense, small in zip(*right, strict=True)]
        return folders[0], folders[1], lost

    def test_every_item_counts_alike_where_it_does_for_lm_eval(self, tmp_path: Path) -> None:
        *folders, lost = self.runs(tmp_path, alike=False)
        found = quick(*folders)
        assert list(found) == ["zoo"]
        assert found["zoo"]["n"] == 150
        assert found["zoo"]["accuracy_dense"] - found["zoo"]["accuracy"] == pytest.approx(np.concatenate(lost).mean())

    def test_every_subtask_counts_alike_where_it_does_for_lm_eval(self, tmp_path: Path) -> None:
        *folders, lost = self.runs(tmp_path, alike=True)
        record = quick(*folders)["zoo"]
        value = float(np.mean([part.mean() for part in lost]))
        assert abs(value - np.concatenate(lost).mean()) > 0.005
        assert record["accuracy_dense"] - record["accuracy"] == pytest.approx(value)
        assert -record["accuracy_change"] == pytest.approx(value)
        # about what the normal interval of a mean of three independent means says
        half = 1.645 * math.sqrt(sum(part.var() / len(part) for part in lost)) / 3
        assert record["lost_at_most"] - value == pytest.approx(half, rel=0.3)
        assert value - record["lost_at_least"] == pytest.approx(half, rel=0.3)
        assert "over items" in record["notes"]["accuracy"]

    def test_a_value_that_is_neither_is_said(self, tmp_path: Path) -> None:
        *folders, lost = self.runs(tmp_path, alike=False, said=0.123)
        record = quick(*folders)["zoo"]
        assert any("neither" in remark for remark in record["remarks"])
        assert -record["accuracy_change"] == pytest.approx(np.concatenate(lost).mean())

    def test_groups_that_lm_eval_did_not_aggregate_are_no_task(self, tmp_path: Path) -> None:
        folders = []
        for name in "ab":
            lines = {task: option_lines(task, *scores_of(n, 3)[::2]) for task, n in self.SIZES.items()}
            folders.append(
                write_run(tmp_path / name, lines, groups={"board": [*lines]}, group_values={"board": {" ": 0}})
            )
        assert list(quick(*folders)) == sorted(self.SIZES)


class TestOneScoreAnItem:
    def test_accuracy_is_compared_and_the_rest_is_said_to_be_missing(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        dense = (rng.random(200) < 0.6).astype(float)
        small = np.where(rng.random(200) < 0.1, 1 - dense, dense)
        folders = [
            write_run(tmp_path / name, {"sums": generation_lines("sums", scores.tolist())})
            for name, scores in (("a", dense), ("b", small))
        ]
        found = compare(*folders).records[0]
        to_wrong, to_right = int(((dense > 0) & (small == 0)).sum()), int(((dense == 0) & (small > 0)).sum())
        assert (found["flips_to_wrong"], found["flips_to_right"]) == (to_wrong / 200, to_right / 200)
        assert found["mcnemar_p"] == pytest.approx(
            mcnemar([[0, to_wrong], [to_right, 0]], exact=True).pvalue, rel=1e-12
        )
        assert found["accuracy_change"] == pytest.approx(small.mean() - dense.mean())
        assert found["lost_at_least"] < dense.mean() - small.mean() < found["lost_at_most"]
        assert found["brier_ts"] is found["set_size"] is found["lac_transfer_coverage"] is None
        assert "option log-probabilities are missing" in found["notes"]["brier_ts"]
        assert found["notes"].keys().isdisjoint({"accuracy_change", "mcnemar_p"})

    def test_averaged_repeats_do_not_flip(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        folders = [
            write_run(tmp_path / name, {"code": generation_lines("code", scores, metric="pass@1")})
            for name, scores in (("a", [0.75] * 50), ("b", (rng.integers(0, 5, 50) / 4).tolist()))
        ]
        record = quick(*folders)["code"]
        assert record["flips_to_wrong"] is record["mcnemar_p"] is None
        assert record["metric"] == "pass@1"
        assert -1 < record["lost_at_least"] < record["accuracy_dense"] - record["accuracy"] < record["lost_at_most"] < 1

    def test_each_filter_is_a_task(self, tmp_path: Path) -> None:
        folders = []
        for name, right in (("a", 1.0), ("b", 0.0)):
            strict = generation_lines("sums", [1.0, 0.0] * 20, filter="strict-match")
            lines = strict + generation_lines("sums", [right] * 40, filter="flexible")
            folders.append(write_run(tmp_path / name, {"sums": lines}))
        found = quick(*folders)
        assert {task: record["accuracy_change"] for task, record in found.items()} == {
            "sums (strict-match)": 0.0,
            "sums (flexible)": -1.0,
        }

    def test_options_in_the_context_leave_the_logged_accuracy(self, tmp_path: Path) -> None:
        lines = option_lines("fill", *scores_of(30, 5)[::2])
        for line in lines:
            for place, one in enumerate(line["arguments"].values()):
                one["arg_0"] += f" {place}"
        folders = [write_run(tmp_path / name, {"fill": lines}) for name in "ab"]
        record = quick(*folders)["fill"]
        assert record["kind"] == "scores"
        assert record["accuracy"] == pytest.approx(np.mean([line["acc"] for line in lines]))


class TestOtherFiles:
    def test_cells_and_jsonl_say_the_same_as_each_other(self, tmp_path: Path) -> None:
        dense, small, answers = scores_of(80, 9)
        ids = [f"i{number}" for number in range(80)]
        for name, variant, scores in (("dense", "dense", dense), ("small", "rtn-w4-g32", small)):
            cell = make_cell(
                ids=ids,
                answers=answers.tolist(),
                scores=scores.tolist(),
                kind="loglik",
                model={"name": "m"},
                variant={"name": variant},
                task={"name": "items", "scoring": "cloze-sum", "prompt": "base", "shots": 0},
            )
            write_cell(tmp_path / f"{name}.parquet", cell)
            rows = zip(ids, answers.tolist(), scores.tolist(), strict=True)
            text = "".join(json.dumps({"id": i, "answer": a, "loglik": s}) + "\n" for i, a, s in rows)
            (tmp_path / f"{name}.jsonl").write_text(text)
        cells, lines = (
            quick(tmp_path / f"dense.{kind}", tmp_path / f"small.{kind}")["items"] for kind in ("parquet", "jsonl")
        )
        assert (cells["model"], cells["variant"], cells["family"]) == ("m", "rtn-w4-g32", "quantization")
        assert (lines["model"], lines["variant"], lines["family"]) == ("d", "c", "unknown")
        names = ("model", "variant", "family", "method", "notes", "flags")
        assert {key: value for key, value in cells.items() if key not in names} == {
            key: value for key, value in lines.items() if key not in names
        }
        assert cells["accuracy"] == pytest.approx((small.argmax(axis=1) == answers).mean())


class TestPolicy:
    POLICY = "name: ours\nsource: us\ncriteria:\n  - {metric: accuracy, limit: LIMIT, unit: points}\n"

    def judged(self, runs: tuple[Path, Path], folder: Path, limit: str, capfd: pytest.CaptureFixture[str]) -> Any:
        (folder / "p.yaml").write_text(self.POLICY.replace("LIMIT", limit))
        status = main(["compare", *map(str, runs), "--policy", str(folder / "p.yaml"), "--json"])
        (found,) = json.loads(capfd.readouterr().out)
        return status, found

    @pytest.mark.parametrize(
        ("limit", "status", "decision"), [("0.4", 0, "accept"), ("0.1", 3, "review"), ("0.001", 1, "reject")]
    )
    def test_the_decision_is_the_exit_status(
        self,
        runs: tuple[Path, Path],
        tmp_path: Path,
        limit: str,
        status: int,
        decision: str,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        found_status, record = self.judged(runs, tmp_path, limit, capfd)
        assert (found_status, record["decision"]) == (status, decision)
        (line,) = record["criteria"]
        assert line["upper"] == pytest.approx(record["lost_at_most"])
        assert line["lower"] == pytest.approx(record["lost_at_least"])

    def test_scores_alone_are_judged_by_accuracy_and_by_nothing_else(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        right = [float(number % 3 > 0) for number in range(300)]
        flipped = [1 - one if number < 3 else one for number, one in enumerate(right)]
        folders = [
            write_run(tmp_path / name, {"sums": generation_lines("sums", scores)})
            for name, scores in (("a", right), ("b", flipped))
        ]
        status, record = self.judged((folders[0], folders[1]), tmp_path, "0.05", capfd)
        assert (status, record["decision"]) == (0, "accept")
        assert main(["compare", *map(str, folders), "--policy", "certainty"]) == 3
        out = capfd.readouterr().out.splitlines()
        assert out[0].split("\t")[-2:] == ["decision", "reason"]
        assert out[1].split("\t")[-2:] == ["review", "blocked"]

    def test_every_further_candidate_on_the_same_scores_is_another_attempt(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The third is tested at a fifteenth of the level: what passes as the first does not pass as the third."""
        monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
        right = [float(number % 3 > 0) for number in range(300)]
        dense = write_run(tmp_path / "dense", {"sums": generation_lines("sums", right)})
        found = []
        for name, wrong in (("a", 1), ("b", 2), ("c", 4), ("a", 1), ("c", 4)):
            gone = np.flatnonzero(right)[:wrong].tolist()
            scores = [0.0 if number in gone else one for number, one in enumerate(right)]
            other = write_run(tmp_path / f"{name}-{len(found)}", {"sums": generation_lines("sums", scores)}, model=name)
            found.append(self.judged((dense, other), tmp_path, "0.035", capfd)[1])
        assert [one["attempt"] for one in found] == [1, 2, 3, 1, 3]
        assert [one["decision"] for one in found[:3]] == ["accept", "accept", "review"]
        alone = [one["criteria"][0]["upper"] for one in found]
        assert alone == [*sorted(alone[:3]), alone[0], alone[2]]
        # four lost of 300: the binomial tail or Tango's bound at the third attempt's level, whichever is larger
        assert 0.04 < alone[2] < 0.05

    def test_each_pair_is_measured_once(
        self,
        runs: tuple[Path, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        measure, seen = rows._measure_curve, []

        def counted(cells: Any, **more: Any) -> Any:
            seen.append(len(cells))
            return measure(cells, **more)

        monkeypatch.setattr(rows, "_measure_curve", counted)
        self.judged(runs, tmp_path, "0.4", capfd)
        assert seen == [2]

    def test_an_unknown_policy(self, runs: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compare", *map(str, runs), "--policy", "certanty"]) == 2
        assert "did you mean certainty?" in capfd.readouterr().err


def test_a_compressed_side_called_dense_is_compressed_all_the_same(
    runs: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(TestPolicy.POLICY.replace("LIMIT", "0.4"))
    sides = [
        write_run(tmp_path / name, {"birds": logged(run)[:60]}, model="dense")
        for name, run in zip("ab", runs, strict=True)
    ]
    assert main(["compare", *map(str, sides), "--policy", str(tmp_path / "p.yaml"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["variant"] == "dense (compressed)"


def test_reports_need_a_policy(runs: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, runs), "--junit", str(tmp_path / "x.xml")]) == 2
    assert "name the policy to decide by" in capfd.readouterr().err
    assert not (tmp_path / "x.xml").exists()


def test_tied_options_share_their_credit_in_a_decision_with_a_task_of_scores(tmp_path: Path) -> None:
    tied, sure = np.full((80, 2), -1.0), np.tile([-1.0, -3.0], (80, 1))
    sides = [
        write_run(
            tmp_path / name,
            {"t": option_lines("t", scores, [0] * 80), "s": generation_lines("s", [1.0] * 80)},
        )
        for name, scores in (("a", sure), ("b", tied))
    ]
    policy = Policy("p", "us", (Criterion("accuracy", 0.2, "points", task="t"),))
    pairs, _ = pair_sides(*(read_side(side, scoring=None) for side in sides))
    judged = judge_pairs(pairs, policy, dense="d", compressed="c")
    assert judged["criteria"][0]["loss"] == pytest.approx(0.5)
    assert judged["decision"] == "reject"


def changed(lines: list[Line], change: Callable[[Line], None], item: int | None = 3) -> list[Line]:
    copied = json.loads(json.dumps(lines))
    for number, line in enumerate(copied):
        if item is None or number == item:
            change(line)
    return list(copied)


def _other_answer(line: Line) -> None:
    line["target"] = str((int(line["target"]) + 1) % 4)
    line.pop("acc"), line.pop("acc_norm")


def _fewer_options(line: Line) -> None:
    line["target"] = "0"
    line["arguments"].pop("gen_args_3")
    line["filtered_resps"].pop()
    line.pop("acc"), line.pop("acc_norm")


def _other_document(line: Line) -> None:
    line["doc_hash"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "item", "said"),
    [
        (_other_document, None, "share no item"),
        (_other_answer, 3, "the right answer of item 'birds/3#"),
        (_fewer_options, 3, "has 4 options in DENSE and 3 in COMPRESSED"),
    ],
)
def test_items_that_are_not_the_same_question(
    runs: tuple[Path, Path], tmp_path: Path, change: Callable[[Line], None], item: int | None, said: str
) -> None:
    other = write_run(tmp_path, {"birds": changed(logged(runs[1]), change, item)})
    with pytest.raises(SuiteError, match=said) as caught:
        compare(runs[0], other)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "prefix", "said"),
    [
        ({"shots": 5}, "", "birds: 0 shots in DENSE and 5 in COMPRESSED; run both alike"),
        (
            {"chat": "{{ messages }}"},
            "",
            "birds: a chat template in COMPRESSED alone; run both with it, or both without",
        ),
        ({}, "An example.\n\n", "birds: 150 of 150 shared documents were asked in other words, such as 'birds/0#"),
    ],
)
def test_another_way_of_asking(
    runs: tuple[Path, Path], tmp_path: Path, how: dict[str, Any], prefix: str, said: str
) -> None:
    lines = logged(runs[1])
    for line in lines:
        for one in line["arguments"].values():
            one["arg_0"] = prefix + one["arg_0"]
    other = write_run(tmp_path, {"birds": lines}, **how)
    with pytest.raises(SuiteError) as caught:
        compare(runs[0], other)
    assert str(caught.value).startswith(said)


def test_a_document_twice(runs: tuple[Path, Path], tmp_path: Path) -> None:
    lines = logged(runs[1])
    with pytest.raises(SuiteError, match="duplicate id 'birds/0'"):
        compare(runs[0], write_run(tmp_path, {"birds": [*lines, lines[0]]}))


def test_other_tasks_and_other_filters(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no task is in both: DENSE has birds, COMPRESSED has cats"):
        compare(runs[0], write_run(tmp_path / "a", {"cats": logged(runs[1])}))
    sides = [
        write_run(
            tmp_path / name, {"s": [line for one in filters for line in generation_lines("s", [1.0], filter=one)]}
        )
        for name, filters in (("b", ["x", "y"]), ("c", ["z", "w"]))
    ]
    with pytest.raises(
        SuiteError, match=r"no filter of s is in both: DENSE has s \(x\), s \(y\), COMPRESSED has s \(z\)"
    ):
        compare(*sides)


def test_one_filter_on_each_side_that_differs_is_refused(tmp_path: Path) -> None:
    sides = [
        write_run(tmp_path / name, {"s": generation_lines("s", [1.0, 0.0], filter=name)})
        for name in ("strict", "loose")
    ]
    with pytest.raises(SuiteError, match="s: filter strict in DENSE and loose in COMPRESSED"):
        compare(*sides)


def test_what_only_one_side_has_is_said(runs: tuple[Path, Path], tmp_path: Path) -> None:
    lines = logged(runs[1])
    other = write_run(tmp_path, {"birds": lines[:100], "cats": option_lines("cats", *scores_of(9, 1)[::2])})
    pairs, left = pair_sides(read_side(runs[0], scoring=None), read_side(other, scoring=None))
    assert left == ["left out: cats: only COMPRESSED has it"]
    assert pairs[0].remarks == ("100 items are in both; DENSE has 150, COMPRESSED 100",)
    record = record_of(pairs[0], dense="d", compressed="c", protocol=QUICK)
    assert record["n"] == record["n_paired"] == 100
    assert record["accuracy_dense"] == pytest.approx(np.mean([line["acc"] for line in logged(runs[0])[:100]]))


class TestCommand:
    def test_piped_it_is_tab_separated_and_the_remarks_go_to_stderr(
        self, runs: tuple[Path, Path], record: dict[str, Any], capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["compare", *map(str, runs)]) == 0
        out, err = capfd.readouterr()
        header, line = out.splitlines()
        shown = dict(zip(header.split("\t"), line.split("\t"), strict=True))
        assert float(shown["lost_at_most"]) == pytest.approx(record["lost_at_most"], abs=1e-3)
        assert float(shown["brier_ts_change"]) == pytest.approx(record["brier_ts_change"], abs=1e-3)
        assert err == ""

    def test_json_is_one_array_and_nothing_else(
        self, runs: tuple[Path, Path], record: dict[str, Any], capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["compare", *map(str, runs), "--json"]) == 0
        assert json.loads(capfd.readouterr().out) == [record]

    def test_the_same_side_twice_is_a_remark(self, runs: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compare", str(runs[0]), str(runs[0])]) == 0
        assert capfd.readouterr().err == (
            "remark: both sides hold the same scores: nothing was compressed, or one file was given twice\n"
        )

    @pytest.mark.parametrize("given", ["nothing-here", "empty"])
    def test_a_side_that_is_nothing(
        self, runs: tuple[Path, Path], tmp_path: Path, given: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "empty").mkdir()
        assert main(["compare", str(runs[0]), str(tmp_path / given)]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith(f"suite: {tmp_path / given}: ")
        assert err.count("\n") == 1

    def test_a_terminal_gets_accuracy_and_certainty_apart(
        self, runs: tuple[Path, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        assert main(["compare", *map(str, runs)]) == 0
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().out).splitlines()
        assert lines[0] == "dense: org/big"
        assert lines[4].split()[:6] == ["task", "items", "lost", "at", "most", "at"]
        assert lines[5].split()[:2] == ["birds", "150"]
        assert lines[7] == "certainty"
        assert len(lines) == 10

"""`suite metrics --details`: what lies behind a row, against brute force, mapie and scipy, and as it is printed."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from suite import measure
from suite.cell import Cell, make_cell, write_cell
from suite.cli import main
from suite.config import Protocol
from suite.metrics.details import compute_details
from suite.metrics.folds import hashed_folds, item_draws


def cell_of(scores: np.ndarray, answers: np.ndarray, variant: str = "dense") -> Cell:
    return make_cell(
        ids=[f"i{row}" for row in range(len(answers))],
        answers=answers.tolist(),
        scores=scores.tolist(),
        kind="logits",
        model={"name": "m"},
        variant={"name": variant},
        task={"name": "t", "scoring": "letter", "prompt": "base", "shots": 0},
    )


def world(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.normal(0, 1.5, (n, width))
    kept = scores.astype(np.float32).astype(np.float64)  # as a cell holds them
    return kept, (scores + random.gumbel(size=scores.shape)).argmax(axis=1)


def softmax(scores: np.ndarray) -> np.ndarray:
    parts = np.exp(scores)
    return parts / parts.sum(axis=1, keepdims=True)


def score(method: str, p: list[float], option: int, u: float) -> float:
    """Nonconformity of an option as the papers define it; no probabilities tie."""
    rank = 1 + sum(other > p[option] for other in p)
    if method == "lac":
        return -p[option]
    if method == "top_k":
        return rank
    mass = sum(other for other in p if other >= p[option]) - u * p[option]
    return mass + (0.01 * max(0, rank - 2) if method == "raps" else 0.0)


@pytest.mark.parametrize("method", ["lac", "aps", "raps", "top_k"])
def test_sets_are_those_of_brute_force(method: str) -> None:
    n, width, splits, alpha = 70, 4, 3, 0.2
    scores, answers = world(n, width)
    (details,) = compute_details([cell_of(scores, answers)], Protocol(splits=splits, alpha=alpha))
    ids = sorted(f"i{row}" for row in range(n))
    order = [int(name[1:]) for name in ids]
    p, right = softmax(scores)[order].tolist(), answers[order].tolist()
    draws = item_draws(ids, purpose="aps")
    folds = hashed_folds(ids, splits=splits)
    shares, coverages, pooled = [], [], []
    for conformal, test in zip(folds.conformal, folds.test, strict=True):
        known = sorted(score(method, p[item], right[item], draws[item]) for item in conformal)
        rank = math.ceil((len(known) + 1) * (1 - alpha) - 1e-9)
        sets = [
            (item, [o for o in range(width) if score(method, p[item], o, draws[item]) <= known[rank - 1]])
            for item in test
        ]
        shares.append([sum(len(one) == size for _, one in sets) / len(sets) for size in range(width + 1)])
        coverages.append(sum(right[item] in one for item, one in sets) / len(sets))
        pooled += sets
    found = details["conformal"][method]
    assert found["size_distribution"] == pytest.approx(np.mean(shares, axis=0))
    assert found["set_size"] == pytest.approx(np.mean(shares, axis=0) @ np.arange(width + 1))
    assert found["coverage"] == pytest.approx(np.mean(coverages))
    for key, label in (("by_set_size", lambda item, one: len(one)), ("by_answer", lambda item, one: right[item])):
        groups: dict[int, list[tuple[bool, int]]] = {}
        for item, one in pooled:
            groups.setdefault(label(item, one), []).append((right[item] in one, len(one)))
        assert [int(stratum["label"]) for stratum in found[key]] == sorted(groups)
        for stratum in found[key]:
            covered, sizes = zip(*groups[int(stratum["label"])], strict=True)
            assert stratum["n"] == len(covered)
            assert stratum["coverage"] == pytest.approx(np.mean(covered))
            assert stratum["set_size"] == pytest.approx(np.mean(sizes))


def test_raps_is_mapies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three options: none lies beyond the first penalized rank, where mapie's sets are not those of its score."""
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import RAPSConformityScore

    from suite.metrics.mapie_adapter import _pass_through

    class Constant(np.random.RandomState):
        def uniform(self, low: float = 0.0, high: float = 1.0, size: object = None) -> np.ndarray:
            return np.full(size, 0.5)

    class Given(RAPSConformityScore):
        """With penalty and free ranks given, not searched for on a part of the fold."""

        def split_data(self, X, y, y_enc, sample_weight=None, groups=None):
            self.X_raps, self.y_raps, self.y_raps_no_enc, self.n_samples_ = X, y_enc, y, len(y)
            return X, y, y_enc, sample_weight, groups

        def _find_lambda_star(self, *_):
            self.k_star = np.array([2.0])
            return 0.01

    monkeypatch.setattr("suite.metrics.sample.item_draws", lambda ids, **_: np.full(len(ids), 0.5))
    scores, answers = world(400, 3, seed=3)
    (details,) = compute_details([cell_of(scores, answers)], Protocol(splits=1))
    ids = sorted(f"i{row}" for row in range(400))
    order = np.array([int(name[1:]) for name in ids])
    p, right, folds = softmax(scores)[order], answers[order], hashed_folds(ids, splits=1)
    fold, test = folds.conformal[0], folds.test[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SplitConformalClassifier(
            _pass_through(3), prefit=True, conformity_score=Given(), confidence_level=0.9, random_state=Constant(0)
        ).conformalize(p[fold], right[fold])
        _, found = model.predict_set(p[test], conformity_score_params={"include_last_label": "randomized"})
    sets = found[:, :, 0]
    ours = details["conformal"]["raps"]
    assert ours["size_distribution"] == pytest.approx(np.bincount(sets.sum(axis=1), minlength=4) / len(sets))
    assert ours["coverage"] == pytest.approx(sets[np.arange(len(test)), right[test]].mean())
    assert ours["size_distribution"] != details["conformal"]["aps"]["size_distribution"]


def test_the_curve_the_bins_and_the_deferral_are_those_of_their_definitions() -> None:
    n = 530
    scores, answers = world(n, 4, seed=5)
    scores *= 2
    cell = cell_of(scores, answers)
    (details,) = compute_details([cell], Protocol(splits=2), wanted_error=0.3)
    confidence, wrong = softmax(scores).max(axis=1), scores.argmax(axis=1) != answers
    ranked = wrong[np.argsort(-confidence)]
    curve = details["risk_coverage"]
    assert len(curve["risk"]) == 200
    for answered, risk in zip(curve["answered"], curve["risk"], strict=True):
        assert risk == pytest.approx(ranked[: round(answered * n)].mean())
    assert {math.ceil(n * tenth / 10) / n for tenth in range(1, 11)} <= set(curve["answered"])
    rules = []
    for step in range(1, 21):
        count = math.ceil(step * n / 20)
        bound = beta.ppf(1 - 0.05 / 20, ranked[:count].sum() + 1, count - ranked[:count].sum())
        if bound <= 0.3:
            rules.append({"wanted_error": 0.3, "answered": count / n, "error": ranked[:count].mean(), "bound": bound})
    assert 0 < len(rules) < 20
    found = dict(details["deferral"])
    assert (confidence >= found.pop("threshold")).mean() == rules[-1]["answered"]
    assert found == pytest.approx(rules[-1])
    bins = details["reliability"]
    counts, _ = np.histogram(confidence, bins=15, range=(0, 1))
    assert bins["count"] == counts.tolist()
    rights, _ = np.histogram(confidence[~wrong], bins=15, range=(0, 1))
    assert [a for a in bins["accuracy"] if a is not None] == pytest.approx((rights / np.maximum(counts, 1))[counts > 0])
    assert sum(details["reliability_equal_mass"]["count"]) == n


def test_details_and_rows_say_the_same() -> None:
    scores, answers = world(240, 4)
    noise = np.random.default_rng(1).normal(size=scores.shape)
    cells = [cell_of(scores, answers), cell_of(scores + noise, answers, "rtn-w4")]
    found = compute_details(cells[::-1], Protocol(splits=4))
    rows = measure(cells, splits=4, replicates=0)
    assert [one["variant"] for one in found] == ["dense", "rtn-w4"]
    for details, row in zip(found, rows, strict=True):
        json.dumps(details, allow_nan=False)
        assert {key: row[key] for key in row if key in details} == {key: details[key] for key in row if key in details}
        assert (details["n"], details["protocol"], details["alpha"]) == (240, "exact", 0.1)
        for name in ("lac", "aps", "aps_deterministic"):
            sets = details["conformal"][name]
            assert sets["set_size"] == pytest.approx(row[f"{name}_set_size"])
            assert sets["coverage"] == pytest.approx(row[f"{name}_coverage"])
        shares = details["conformal"]["lac"]["size_distribution"]
        assert shares[1] == pytest.approx(row["lac_singleton_rate"])
        assert shares[0] == pytest.approx(row["lac_empty_rate"])
        curve = dict(zip(details["risk_coverage"]["answered"], details["risk_coverage"]["risk"], strict=True))
        assert curve[1.0] == pytest.approx(1 - row["accuracy"])
        assert curve[0.8] == pytest.approx(1 - row["accuracy_at_80"])
        assert details["deferral"] == {
            "wanted_error": 0.1, "threshold": None, "answered": 0.0, "error": None, "bound": None
        } or details["deferral"]["bound"] <= 0.1  # fmt: skip


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    scores, answers = world(60, 3)
    paths = []
    for variant in ("rtn-w4", "dense"):
        paths.append(str(tmp_path / f"{variant}.parquet"))
        write_cell(Path(paths[-1]), cell_of(scores, answers, variant))
    return paths


def test_the_command_prints_a_block_a_cell(two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", *two, "--details", "--wanted-error", "0.6"]) == 0
    out = capsys.readouterr().out
    heads = [line for line in out.splitlines() if line.startswith("m/t/")]
    assert heads == [f"m/t/letter-base-0/{name}: 60 items, alpha 0.1" for name in ("dense", "rtn-w4")]
    block = out.split("\n\n")
    assert [part.splitlines()[0].partition(":")[0] for part in block[1:7]] == [
        *("prediction sets", "coverage of sets of that size", "coverage by the right option"),
        *("reliability", "error rate among the most confident, by the share of items answered", "deferral"),
    ]
    cells = [cell_of(*world(60, 3), name) for name in ("dense", "rtn-w4")]
    (details, _) = compute_details(cells, Protocol(), wanted_error=0.6)
    header, *lines = [line.split() for line in block[1].splitlines()[1:]]
    assert header == ["sets", "size", "coverage", "0", "1", "2", "3"]
    for line in lines:
        sets = details["conformal"][line[0]]
        assert line[1:] == [f"{x:.3f}" for x in (sets["set_size"], sets["coverage"], *sets["size_distribution"])]
    assert [line[0] for line in lines] == ["lac", "aps", "aps_deterministic", "raps", "top_k"]
    assert block[6].splitlines()[-1].split()[0] == "0.600"


def test_the_command_gives_one_json_array(two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", *two, "--details", "--json", "--protocol", "ye2024", "--alpha", "0.2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["variant"], one["protocol"], one["alpha"], one["n_evaluated"]) for one in found] == [
        ("dense", "ye2024", 0.2, 28),
        ("rtn-w4", "ye2024", 0.2, 28),
    ]
    assert set(found[0]["conformal"]) == {"lac", "aps"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--details", "--wanted-error", "1.5"], "wanted error 1.5 out of range"),
        (["--details", "--wanted-error", "nan"], "wanted error nan out of range"),
        (["--wanted-error", "0.1"], "--wanted-error belongs to --details"),
    ],
)
def test_bad_input_is_one_line(two: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", *two, *more]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_too_few_items_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, answers = world(1, 3)
    write_cell(tmp_path / "c.parquet", cell_of(scores, answers))
    assert main(["metrics", str(tmp_path / "c.parquet"), "--details", "--protocol", "ye2024"]) == 2
    assert "1 items are too few for protocol ye2024; use more items" in capsys.readouterr().err

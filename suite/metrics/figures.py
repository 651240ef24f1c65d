"""The figures of a row, each listed once: columns of rows.csv in their order, and what readers are told about them.

A formula number says which computation a published value comes from. It stands in the manifest of a snapshot, so that
`suite verify` knows which values it can make again and which it must hold to their checksum. Raise a figure's number in
the change that makes some cell give another value, or another reason under ``notes``; raise `interval` alone where the
ends move and the value stays. A new figure starts at 1. See docs/leaderboard.md, "Formula numbers".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, log

CELL, SCORES, DENSE = "cell", "scores", "dense"
"""Where a value comes from: the cell says it, its scores give it, or its scores beside those of dense."""

LOWER, HIGHER = "lower", "higher"
"""Which values are better."""

SHARE = (0.0, 1.0)
UPWARD = (0.0, inf)


@dataclass(frozen=True)
class Change:
    """That a figure's change against dense is reported, as ``<key>_change``, and ``<key>_change_detectable`` beside it.

    Attributes:
        formula, interval: numbers of the formulas of the change and of its ends.
        detectable: of the smallest change that the items could show.
        column: whether the pages have a column of it, beside the figure's.
    """

    formula: int = 1
    interval: int = 1
    detectable: int = 1
    column: bool = False


@dataclass(frozen=True)
class Column:
    """That the pages and `suite metrics` have a column of a figure.

    Attributes:
        place: its place among such columns.
        heading: what stands above it, where the title is too long.
        narrow: tables under a heading of their own leave its interval out; the table that sorts does not.
    """

    place: int
    heading: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Figure:
    """One figure of a row.

    Attributes:
        source: `CELL`, `SCORES` or `DENSE`.
        formula: number of the formula of its value and of the bootstrap replicates of that value.
        interval: number of the formula that makes ``<key>_low`` and ``<key>_high`` of them; None where it has none.
        change: its change against dense; None where none is reported.
        title: for readers; empty where none meets it.
        better: `LOWER` or `HIGHER`; empty where neither is.
        meaning: what it is, without a full stop; figures that have one are exported. `remark`: what else a reader of
            its column must know.
        limits: least and most that it can be, infinite where there is no bound; None where nobody asks. Set sizes
            lie between 0 and the number of options.
        places: decimals shown.
        debiased: its interval is that of a debiased estimate and need not hold the value, so it is not shown.
        column: where the pages show it; None where they do not.
    """

    source: str
    formula: int = 1
    interval: int | None = None
    change: Change | None = None
    title: str = ""
    better: str = ""
    meaning: str = ""
    remark: str = ""
    limits: tuple[float, float] | None = None
    places: int = 3
    debiased: bool = False
    column: Column | None = None

    @property
    def heading(self) -> str:
        """Of its column."""
        return (self.column and self.column.heading) or self.title

    @property
    def explanation(self) -> str:
        """Sentences that say what its column means."""
        better = f"; {self.better} is better" if self.better else ""
        return f"{self.meaning}{better}. {self.remark}".strip()


_CHANGE = Change(interval=2, detectable=3)

_OWN: dict[str, Figure] = {
    "model": Figure(CELL),
    "variant": Figure(CELL),
    "family": Figure(CELL),
    "method": Figure(CELL),
    "task": Figure(CELL),
    "scoring": Figure(CELL),
    "prompt": Figure(CELL),
    "shots": Figure(CELL),
    "chat_template": Figure(CELL),
    "protocol": Figure(CELL),
    "alpha": Figure(CELL),
    "n": Figure(CELL),
    "n_evaluated": Figure(CELL),
    "params_b": Figure(CELL, title="parameters", meaning="weights of the model, embeddings included"),
    "kind": Figure(CELL),
    "bits_per_weight": Figure(
        CELL,
        title="bits",
        meaning="measured bits a weight of the whole model, embeddings included",
        places=2,
    ),
    "megabytes": Figure(CELL, title="MB", better=LOWER, meaning="measured size of the weights in 10⁶ bytes", places=1),
    "sparsity": Figure(CELL),
    "relative_weight_error": Figure(CELL),
    "share_touched": Figure(CELL, formula=2),
    "drift_largest": Figure(CELL),
    "drift_changed_answers": Figure(CELL),
    "chance_accuracy": Figure(SCORES),
    "accuracy": Figure(
        SCORES,
        interval=2,
        title="accuracy",
        better=HIGHER,
        limits=SHARE,
        change=Change(interval=2, detectable=3, column=True),
        meaning="fraction of items whose most likely option is right, ties counted as a fraction",
        column=Column(1),
    ),
    "nll": Figure(
        SCORES,
        interval=2,
        title="NLL",
        better=LOWER,
        limits=UPWARD,
        change=_CHANGE,
        meaning="mean negative log-likelihood of the right option over the item's options, in nats",
        column=Column(7, narrow=True),
    ),
    "brier": Figure(
        SCORES,
        interval=2,
        title="Brier score",
        better=LOWER,
        limits=(0.0, 2.0),
        change=_CHANGE,
        meaning="mean squared distance between the probabilities of all options and the right answer",
    ),
    "brier_calibration": Figure(SCORES),
    "brier_refinement": Figure(SCORES),
    "ece": Figure(
        SCORES,
        interval=2,
        title="ECE",
        better=LOWER,
        limits=SHARE,
        debiased=True,
        change=_CHANGE,
        meaning="expected calibration error of the most likely option, 15 equal-width bins",
        remark=(
            "Small where a model answers at chance and says so: read it beside accuracy. Inflated when items are few."
        ),
        column=Column(6),
    ),
    "ece_equal_mass": Figure(SCORES),
    "ace": Figure(SCORES),
    "mce": Figure(SCORES),
    "ece_debiased": Figure(SCORES),
    "ece_classwise": Figure(SCORES),
    "confidence_gap": Figure(SCORES, interval=2, limits=(-1.0, 1.0)),
    "temperature": Figure(SCORES, formula=2, interval=3),
    "nll_ts": Figure(
        SCORES,
        formula=2,
        interval=2,
        title="NLL after temperature",
        better=LOWER,
        limits=UPWARD,
        change=Change(formula=2, interval=3, detectable=3),
        meaning="mean negative log-likelihood of the right option after temperature scaling, in nats",
    ),
    "brier_ts": Figure(
        SCORES,
        formula=2,
        interval=2,
        title="Brier score after temperature",
        better=LOWER,
        limits=(0.0, 2.0),
        change=Change(interval=2),
        meaning="Brier score over all options after temperature scaling",
    ),
    "ece_ts": Figure(
        SCORES,
        formula=2,
        interval=2,
        title="ECE after temperature",
        better=LOWER,
        limits=SHARE,
        debiased=True,
        change=Change(formula=2, interval=2, detectable=3),
        meaning="expected calibration error after temperature scaling",
    ),
    "ece_ts_debiased": Figure(SCORES, formula=2),
    "lac_set_size": Figure(SCORES, interval=2, better=LOWER, change=Change(interval=3, detectable=3)),
    "lac_coverage": Figure(
        SCORES,
        interval=2,
        title="coverage (LAC)",
        limits=SHARE,
        meaning=(
            "fraction of items whose LAC set holds the right option, the threshold fitted on the variant's own "
            "answers; it should be near 1 − α, neither end is better"
        ),
        remark=(
            "The band holds the coverage of a single split 95 times in 100; an average over splits varies less. ▼ and "
            "▲ mark values below and above the band."
        ),
        column=Column(3, narrow=True),
    ),
    "lac_coverage_band_low": Figure(SCORES),
    "lac_coverage_band_high": Figure(SCORES),
    "lac_singleton_rate": Figure(SCORES),
    "lac_empty_rate": Figure(SCORES),
    "aps_set_size": Figure(SCORES, interval=2, better=LOWER, change=Change(interval=3, detectable=3)),
    "aps_coverage": Figure(SCORES, interval=2, limits=SHARE),
    "aps_deterministic_set_size": Figure(SCORES),
    "aps_deterministic_coverage": Figure(SCORES),
    "set_size": Figure(
        SCORES,
        interval=2,
        title="set size",
        better=LOWER,
        limits=UPWARD,
        change=Change(interval=3, detectable=3, column=True),
        meaning="mean number of options in the conformal set, averaged over LAC and randomized APS",
        remark=(
            "A small one means that the model knows what to rule out; without knowledge it is (1 − α) times the number "
            "of options."
        ),
        places=2,
        column=Column(2),
    ),
    "set_size_chance": Figure(SCORES),
    "uacc": Figure(SCORES, interval=2),
    "aurc": Figure(
        SCORES,
        interval=2,
        title="AURC",
        better=LOWER,
        limits=SHARE,
        change=_CHANGE,
        meaning="area under the risk-coverage curve",
    ),
    "excess_aurc": Figure(SCORES),
    "error_auroc": Figure(
        SCORES,
        interval=2,
        title="error AUROC",
        better=HIGHER,
        limits=SHARE,
        change=_CHANGE,
        meaning="area under the ROC curve of confidence separating right from wrong",
    ),
    "accuracy_at_80": Figure(SCORES),
    "tie_rate": Figure(SCORES),
    "n_paired": Figure(CELL),
    "flips_to_wrong": Figure(DENSE),
    "flips_to_right": Figure(DENSE),
    "mcnemar_p": Figure(DENSE),
    "kl": Figure(DENSE, interval=2),
    "js": Figure(DENSE, interval=2, limits=(0.0, log(2))),
    "confidence_correlation": Figure(DENSE),
}
"""Figures before the changes of some of them against dense. A new one goes here."""

_LAST: dict[str, Figure] = {
    "lac_transfer_coverage": Figure(
        DENSE,
        interval=2,
        title="coverage under dense's threshold",
        better=HIGHER,
        limits=SHARE,
        meaning=(
            "fraction of items whose LAC set holds the right option when the threshold of the dense model is kept, as "
            "when nobody recalibrates after compression"
        ),
        remark="Below 1 − α the sets are too small for the compressed model. Read it with their size.",
        column=Column(4, "dense threshold reused", narrow=True),
    ),
    "lac_transfer_set_size": Figure(
        DENSE,
        interval=2,
        title="set size under dense's threshold",
        better=LOWER,
        meaning="mean number of options in the sets at the dense model's threshold",
        remark="Where it grows, coverage is kept by naming more options.",
        places=2,
        column=Column(5, "size at it", narrow=True),
    ),
    "lac_transfer_undercoverage_p": Figure(DENSE),
    "flags": Figure(CELL, formula=2),
    "notes": Figure(CELL, formula=2),
}


def _changes(listed: dict[str, Figure]) -> Iterator[tuple[str, Figure]]:
    """All changes against dense, then the smallest changes that the items could show."""
    changing = [(key, figure, figure.change) for key, figure in listed.items() if figure.change]
    for key, figure, change in changing:
        yield f"{key}_change", Figure(DENSE, change.formula, change.interval, places=figure.places)
    for key, _, change in changing:
        yield f"{key}_change_detectable", Figure(DENSE, change.detectable)


FIGURES: dict[str, Figure] = {**_OWN, **dict(_changes(_OWN)), **_LAST}
"""Every figure of a row by its key, in the order of the columns."""


def columns_of(key: str) -> Iterator[str]:
    """The columns of one figure: its own, then the ends of its interval."""
    yield key
    if FIGURES[key].interval is not None:
        yield from interval_columns(key)


def interval_columns(key: str) -> tuple[str, str]:
    """The columns that hold the ends of a figure's interval."""
    return f"{key}_low", f"{key}_high"


ROW_KEYS = tuple(column for key in FIGURES for column in columns_of(key))
"""Every key of a row, in order."""

INTERVAL_KEYS = tuple(key for key, figure in FIGURES.items() if figure.interval is not None)
"""Keys with a 95 % interval beside them, as `<key>_low` and `<key>_high`."""

CHANGES = tuple(key for key, figure in FIGURES.items() if figure.change)
"""Figures whose change against dense is reported: variant minus dense on the items both have."""

COMPUTED_KEYS = tuple(key for key, figure in FIGURES.items() if figure.source != CELL)
"""Keys that are computed from scores: what a row lacks of them is null, with a reason."""

PAIRED_KEYS = tuple(key for key, figure in FIGURES.items() if figure.source == DENSE)
"""Keys that need a dense cell to compare with."""

PAGE_COLUMNS = tuple(
    key for _, key in sorted((figure.column.place, key) for key, figure in FIGURES.items() if figure.column)
)
"""Figures with a column on the pages and in `suite metrics`, in its order."""

PAGE_CHANGES = tuple(key for key in PAGE_COLUMNS if (change := FIGURES[key].change) and change.column)
"""Those whose change has one beside it."""


def leading(key: str, *, cloze: bool) -> str:
    """The figure that leads where scores are cloze: the one after temperature, where there is one.

    >>> leading("ece", cloze=True), leading("ece", cloze=False), leading("accuracy", cloze=True)
    ('ece_ts', 'ece', 'accuracy')
    """
    return f"{key}_ts" if cloze and f"{key}_ts" in FIGURES else key

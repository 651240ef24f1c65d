"""The built-in policies: limits that others state, each with its source and the reading chosen, and one of our own."""

from __future__ import annotations

from suite.config import RunConfig
from suite.decisions.contradictions import check_policy
from suite.decisions.policy import Criterion, Policy, RedLine, Unit, parse_policy, read_policy
from suite.errors import SuiteError, unknown_name

RED_LINES = (
    RedLine("accuracy", 0.05, "points"),
    RedLine("error_rate", 0.10, "relative"),
    RedLine("safety_violations", 0, "points"),
    RedLine("accuracy", 0.20, "relative", slice="edge"),
)
"""Core accuracy, error rate, any increase of safety violations, and the items that are hardest."""


def _by_kind(**limits: float) -> tuple[Criterion, ...]:
    return tuple(Criterion("accuracy", limit, "points", kind=kind) for kind, limit in limits.items())


def _of_dense(limit: float, unit: Unit = "relative") -> tuple[Criterion, ...]:
    return (Criterion("accuracy", limit, unit, each_task=True),)


_MLPERF = "MLCommons, MLPerf Inference rules (github.com/mlcommons/inference_policies): {} of the reference's accuracy"
_MLPERF_READING = (
    "MLPerf compares point values, which says nothing of other items; here the bound of acc_c - {} acc_d counts. "
    "MLPerf's reference is FP32, here it is the dense model as it was run."
)
_POINTS = "The source does not say points or relative: read as points, the upper end of each range. "

POLICIES = {
    policy.name: policy
    for policy in (
        Policy(
            "task-kind-a",
            "PeakInfer, How Much Quality Loss Is Acceptable: peakinfer.com/blog/how-much-quality-loss-is-acceptable",
            _by_kind(
                **{"classification": 0.05, "summarization": 0.04, "chat": 0.03, "code": 0.01, "mathematics": 0.01},
                **{"legal": 0.005, "medical": 0.005, "other": 0.02},
            ),
            reading=_POINTS + "Tasks of other kinds: 2 points. The suite's red lines are added.",
            red_lines=RED_LINES,
        ),
        Policy(
            "task-kind-b",
            "RunLocalAI, Model Compression, chapter 13 (www.runlocalai.co/learn/courses/model-compression)",
            _by_kind(safety=0.01, medical=0.02, classification=0.05, ranking=0.10, generative=0.15),
            reading="Points: the source subtracts accuracies. No red lines: its largest limits lie beyond them.",
        ),
        Policy(
            "industry-1-2",
            "Common practice, without one source: 1-2 % of accuracy, 10-25 % of it kept free where safety-critical",
            (
                Criterion("accuracy", 0.02, "points"),
                Criterion("accuracy", 0.02, "points", kind="safety", margin=0.25),
            ),
            reading=_POINTS
            + "The margin lies inside the limit, at 25 %: .015 is tested. The suite's red lines are added.",
            red_lines=RED_LINES,
        ),
        Policy("mlperf-99", _MLPERF.format("99 %"), _of_dense(0.01), reading=_MLPERF_READING.format(".99")),
        Policy("mlperf-99.9", _MLPERF.format("99.9 %"), _of_dense(0.001), reading=_MLPERF_READING.format(".999")),
        Policy(
            "certainty",
            "This suite (docs/gate.md)",
            (
                Criterion("brier_ts", 0.05, "headroom"),
                Criterion("set_size", 0.05, "headroom"),
                Criterion("lac_transfer_coverage", 0.02, "points"),
                Criterion("brier_ts", 0.10, "headroom", each_task=True),
                Criterion("set_size", 0.10, "headroom", each_task=True),
                Criterion("lac_transfer_coverage", 0.04, "points", each_task=True),
            ),
            reading="Shares of the way from dense to chance, as in docs/dose.md. Each task: twice the average's limit.",
        ),
    )
}


def planned_policy(config: RunConfig | None) -> Policy | None:
    """The policy that a configuration names or holds; None where it has none.

    Raises:
        SuiteError: unknown name, a mapping that is no valid policy or takes a built-in one's name, a contradiction.
    """
    said = None if config is None else config.policy
    if said is None:
        return None
    if isinstance(said, str) and said not in POLICIES:
        raise unknown_name("policy", said, (*POLICIES, "<a mapping with the keys of a policy>"))
    where = "policy of the configuration"
    policy = POLICIES[said] if isinstance(said, str) else _own(parse_policy(said, where), where)
    return check_policy(policy)


def _own(policy: Policy, where: str) -> Policy:
    if policy.name in POLICIES:
        raise SuiteError(f"{where}: {policy.name!r} is a built-in policy; give it another name")
    return policy


def get_policy(name: str) -> Policy:
    """A built-in policy by name, or the one in a file whose name ends in ``.yaml`` or ``.yml``.

    Raises:
        SuiteError: unknown name, with the valid ones; a file that is no valid policy, or takes a built-in one's name.

    >>> get_policy("mlperf-99").criteria[0].unit
    'relative'
    """
    if name.endswith((".yaml", ".yml")):
        return _own(read_policy(name), f"policy {name}")
    if name not in POLICIES:
        raise unknown_name("policy", name, (*POLICIES, "<file>.yaml"))
    return POLICIES[name]

"""Where a policy contradicts itself: lines that can never be met, never decide, or decide in place of another."""

from __future__ import annotations

from suite.decisions.policy import Policy, RedLine
from suite.errors import SuiteError


def check_policy(policy: Policy) -> Policy:
    """The policy, as given.

    Raises:
        SuiteError: it contradicts itself.
    """
    for level, text in findings(policy):
        if level == "contradiction":
            raise SuiteError(f"policy {policy.name}: contradiction: {text}")
    return policy


def findings(policy: Policy) -> list[tuple[str, str]]:
    """What contradicts itself in a policy: ("contradiction" or "remark", one sentence) each.

    A contradiction makes a part of the policy empty: a limit that can never be met or never decides. A remark says
    which of two lines decides where.
    """
    found = []
    for line in policy.lines:
        said, is_red = f"{line.metric} ({line.scope})", isinstance(line, RedLine)
        if line.margin < 0:
            found.append(
                (
                    "contradiction",
                    f"{said}: a margin of {line.margin:g} loosens the limit {line.limit:g} to {line.tested:g}",
                )
            )
        if line.limit == 0:
            empty = not is_red or bool(getattr(line, "required", False))
            found.append(
                (
                    "contradiction" if empty else "remark",
                    f"{said}: no number of items excludes any increase: 0 of n only bounds it by 3/n; state a limit",
                )
            )
    if policy.review < 1:
        found.append(("contradiction", f"review {policy.review:g} is below 1: what is accepted would be rejected"))
    seen: set[tuple[str, str, str]] = set()
    for line in policy.criteria:
        key = (line.metric, line.scope, line.unit)
        if key in seen:
            found.append(("contradiction", f"{line.metric} ({line.scope}) has two limits in {line.unit}"))
        seen.add(key)
        for red in policy.red_lines:
            if (red.metric, red.scope, red.unit) != key or red.limit == 0:
                continue
            if red.tested < line.tested:
                text = f"its red line {red.tested:g} is tighter than its limit {line.tested:g}, which never decides"
                found.append(("contradiction", f"{line.metric} ({line.scope}): {text}"))
            elif red.tested < policy.review * line.limit:
                band = policy.review * line.limit
                text = f"the red line {red.tested:g} cuts the review band, which would end at {band:g}"
                found.append(("remark", f"{line.metric} ({line.scope}): {text}"))
    for points in policy.lines:
        for growth in policy.lines:
            wanted = ("accuracy", "points", "error_rate", "relative", points.scope)
            if (points.metric, points.unit, growth.metric, growth.unit, growth.scope) == wanted and growth.limit:
                above = 1 - points.tested / growth.tested
                text = f"error_rate {growth.tested:g} relative is tighter than accuracy {points.tested:g} points"
                found.append(("remark", f"{points.scope}: {text} above accuracy {max(above, 0):.2f}, looser below"))
    return found

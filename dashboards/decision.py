"""Why a model was promoted or not: every number that led to it, as Markdown."""

from typing import Any


def decision_markdown(kind: str, reason: str, decision: dict[str, Any]) -> str:
    """A decision as people read it.

    Args:
        kind: what the run ended with, such as `promoted`.
        reason: in one sentence.
        decision: `decision.json` of a version in the registry.
    """
    growth, snapshot = decision["growth"], decision["snapshot"]
    opponent = f"`{decision['against']}`" if decision["against"] else "the LQ pictures (there was no model before)"
    facts = [
        f"- candidate `{decision['candidate']}`, trained on `{snapshot['id']}`, against {opponent}",
        f"- {growth['num_new']:,} of {growth['num_crops']:,} training crops are new: {growth['share']:.1%},"
        f" needed {growth['min_share']:.1%}",
        *(f"- {role}: `{benchmark['id']}`" for role, benchmark in decision["benchmarks"].items()),
        f"- decided {decision['decided']} by version {decision['code_version']}",
    ]
    return "\n".join([f"**{kind.capitalize()}.** {reason}.", "", *facts, "", *_table(decision["checks"]), ""])


def _table(checks: list[dict[str, Any]]) -> list[str]:
    head = "| | benchmark | metric | candidate | against | better by | 95 % interval | needed |"
    return [head, "|---|---|---|--:|--:|--:|--:|--:|", *(_row(check) for check in checks)]


def _row(check: dict[str, Any]) -> str:
    interval = "" if check["low"] is None else f"{check['low']:+.4f} to {check['high']:+.4f}"
    needed = "low end > 0" if check["role"] == "primary" else f"≥ {check['needed']:g}"
    cells = [
        "✓" if check["passed"] else "✗",
        check["benchmark"],
        f"**{check['metric']}**" if check["role"] == "primary" else check["metric"],
        *(_number(check[key], sign) for key, sign in (("candidate", ""), ("against", ""), ("improvement", "+"))),
        interval,
        needed,
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, sign: str) -> str:
    return "n/a" if value is None else f"{value:{sign}.4f}"

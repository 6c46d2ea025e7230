"""What the command line shows of the registry."""

import sys

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from dashboards.decision import decision_markdown
from storage.evaluation import Evaluation
from storage.registry import Registry
from storage.sealed import Content
from storage.store import Store

console = Console(width=None if sys.stdout.isatty() else 110)  # a pipe has no width of its own


def show_list(root: str) -> int:
    """Print every version of every model, oldest first, with the aliases that point at it."""
    registry = Registry(Store(root))
    table = Table("model", "version", "aliases", "trained on", "steps", "from", "registered", title_justify="left")
    for model in registry.models():
        aliases = registry.aliases(model)
        for version in registry.versions(model):
            names = ", ".join(alias for alias, target in aliases.items() if target == version["version"])
            origin = (version["snapshot"] or {}).get("id", "")
            cells = (model, version["version"], names, origin, str(version["step"]), version["parent"] or "base")
            table.add_row(*cells, version["registered"])
    if table.row_count:
        console.print(table)
    else:
        console.print(f"There is no model below {registry.store.full('models')} yet: run `persona train`.")
    return 0


def show_version(root: str, reference: str) -> int:
    """Print one version: where it comes from, what it is worth, what was decided, and the history of its aliases."""
    registry = Registry(Store(root))
    model, version = registry.parse(reference)
    about = registry.version(model, version)
    facts = Table(show_header=False, box=None)
    for key in ("version", "parent", "registered", "step", "code_version"):
        facts.add_row(key, str(about[key]))
    facts.add_row("snapshot", (about["snapshot"] or {}).get("id", ""))
    facts.add_row("folder", str(registry.store.local(f"models/{model}/{version}")))
    console.print(facts)
    if metrics := registry.record(model, version, "metrics"):
        console.print(_metrics(metrics))
    if decision := registry.record(model, version, "decision"):
        kind = "promoted" if decision["promoted"] else "refused"
        console.print(Markdown(decision_markdown(kind, decision["reason"], decision)))
    for alias in registry.aliases(model):
        for change in registry.history(model, alias):
            if version in (change.version, change.previous):
                step = f"{change.previous or 'nothing'} → {change.version}"
                console.print(f"{change.when}  {alias}  {change.kind}  {step}  by {change.who}: {change.why}")
    return 0


def _metrics(metrics: Content) -> Table:
    table = Table("benchmark", "metric", "mean", "95 % interval", "pictures")
    for role, dump in metrics["evaluations"].items():
        evaluation = Evaluation.model_validate(dump)
        for name, result in evaluation.metrics.items():
            if result.mean is None:
                table.add_row(role, name, "n/a", result.unavailable or "", "")
            else:
                interval = "" if result.low is None else f"{result.low:.4f} to {result.high:.4f}"
                table.add_row(role, name, f"{result.mean:.4f}", interval, str(result.num))
    return table

"""From a new snapshot to a better model, or to a reason why not; what is done already is not done again.

Everything that a retraining decides lies on the disk before the next step starts: the version's name and its
configuration, the version, the evaluations, the decision, the promotion. So a run that was killed anywhere goes on
where it was, and a run that finds nothing new ends at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from storage.aliases import CANDIDATE, PRODUCTION
from storage.code_version import code_version
from storage.evaluation import Comparison, Evaluation
from storage.frozen import Frozen
from storage.registry import Registry
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.benchmark.persona_val import ValConfig
from tasks.crop.filters import Share
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.training.new_data import Growth, growth, newest_snapshot
from tasks.training.promotion import LQ, BenchmarkRole, Judged, PromotionConfig, decide
from tasks.training.train import TrainingPlan, TrainJob, plan_training


class RetrainConfig(Frozen):
    """When a new snapshot is worth a training, and when the new model is worth being used."""

    train: TrainJob
    min_new_share: Share = 0.1
    """Train when at least this share of the newest snapshot's training crops is not in that of production."""
    val: ValConfig = ValConfig()
    """How PERSONA-Val is made from the newest snapshot."""
    test_benchmark: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """A PERSONA-Test below `benchmarks/`, on which both models are judged too."""
    evaluate: EvaluateConfig = EvaluateConfig()
    promotion: PromotionConfig = PromotionConfig()


@dataclass(frozen=True)
class Steps:
    """Who does the long parts: Prefect's tasks and flows, or plain functions."""

    train: Callable[[TrainingPlan], None]
    make_val: Callable[[Path, ValConfig], Path]  # snapshot's folder → benchmark's folder
    judge: Callable[[Path, Path | None, str, EvaluateConfig], Evaluation]  # benchmark, model or None = LQ, label
    compare: Callable[[Path, Evaluation, Evaluation, EvaluateConfig], Comparison]


@dataclass(frozen=True)
class Outcome:
    """What a retraining ended with."""

    kind: Literal["nothing new", "promoted", "refused", "overtaken"]
    reason: str
    """In one sentence."""
    version: str | None = None
    decision: dict[str, Any] | None = None  # as the registry keeps it


@dataclass(frozen=True)
class Work:
    """A training that is due, or was begun."""

    plan: TrainingPlan
    production: str | None
    growth: Growth


def due(config: RetrainConfig, snapshot_id: str | None = None) -> Work | Outcome:
    """What there is to do, found from small files in a second; an outcome where that is nothing.

    Args:
        config: of the retraining.
        snapshot_id: the snapshot to look at; None = the newest.

    Raises:
        ValueError: there is no such snapshot.
    """
    job = config.train
    store = Store(job.root)
    registry = Registry(store)
    snapshot = Snapshot(store, snapshot_id) if snapshot_id else newest_snapshot(store, job.dataset)
    manifest = snapshot.manifest()
    plan = plan_training(job, snapshot)
    production = registry.alias(job.model, PRODUCTION)
    if plan.is_registered() and registry.record(job.model, plan.version, "decision"):
        return _carry_out(registry, job.model, plan.version, is_new=False)
    earlier = registry.version(job.model, production)["snapshot"] if production else None
    grown = growth(snapshot, Snapshot(store, earlier["id"]) if earlier else None)
    work = Work(plan, production, grown)
    if plan.is_registered() or plan.is_started():
        return work
    if earlier and earlier["digest"] == manifest.digest:
        return Outcome("nothing new", f"{production} in production was trained on the newest snapshot, {snapshot.id}")
    if earlier and grown.share < config.min_new_share:
        return Outcome(
            "nothing new",
            f"{grown.num_new} of {grown.num_crops} training crops in {snapshot.id} are new to {production},"
            f" {grown.share:.1%}; a training is worth it from {config.min_new_share:.1%} on",
        )
    return work


def retrain_with(steps: Steps, config: RetrainConfig, snapshot_id: str | None = None) -> Outcome:
    """Train, judge, decide and promote, as far as any of it is still to be done."""
    work = due(config, snapshot_id)
    if isinstance(work, Outcome):
        return work
    plan, model = work.plan, config.train.model
    registry = plan.registry
    steps.train(plan)
    registry.promote(model, plan.version, CANDIDATE, why=f"trained on {plan.snapshot.id}", who="retrain")
    judged = _judge(steps, config, work)
    decision = decide(config.promotion, judged, is_first=work.production is None)
    evaluations = {role: pair.candidate.model_dump(mode="json") for role, pair in judged.items()}
    registry.add_record(model, plan.version, "metrics", {"evaluations": evaluations})
    content = {
        "model": model,
        "candidate": plan.version,
        "against": work.production,
        **decision.model_dump(mode="json"),
        "conditions": config.promotion.model_dump(mode="json"),
        "snapshot": {"id": plan.snapshot.id, "digest": plan.snapshot.manifest().digest},
        "growth": {
            "num_crops": work.growth.num_crops,
            "num_new": work.growth.num_new,
            "share": work.growth.share,
            "min_share": config.min_new_share,
        },
        "benchmarks": {role: pair.candidate.benchmark.model_dump() for role, pair in judged.items()},
        "evaluations": {role: [pair.candidate.id, pair.against.id] for role, pair in judged.items()},
        "decided": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
    }
    registry.add_record(model, plan.version, "decision", content)
    return _carry_out(registry, model, plan.version, is_new=True)


def _judge(steps: Steps, config: RetrainConfig, work: Work) -> dict[BenchmarkRole, Judged]:
    """Candidate and opponent, each on the same benchmarks."""
    model, store = config.train.model, work.plan.snapshot.store
    benchmarks: dict[BenchmarkRole, Path] = {"val": steps.make_val(store.local(work.plan.snapshot.path), config.val)}
    if config.test_benchmark:
        benchmarks["test"] = store.local(f"benchmarks/{config.test_benchmark}")
    judged: dict[BenchmarkRole, Judged] = {}
    for role, benchmark in benchmarks.items():
        pair = []
        for version in (work.plan.version, work.production):
            folder = work.plan.registry.resolve(f"{model}/{version}") if version else None
            pair.append(steps.judge(benchmark, folder, f"{model}-{version}" if version else LQ, config.evaluate))
        comparison = steps.compare(benchmark, pair[0], pair[1], config.evaluate)
        judged[role] = Judged(pair[0], pair[1], comparison.differences)
    return judged


def _carry_out(registry: Registry, model: str, version: str, is_new: bool) -> Outcome:
    """Promote what was decided to be promoted, unless that was done, or undone, before.

    Somebody may have changed `production` since the decision; it was made against another model then and is not
    carried out.
    """
    decision = registry.record(model, version, "decision")
    assert decision is not None
    wish, against = f"decision-{version}", decision["against"]
    if not decision["promoted"]:
        kind: Literal["refused", "nothing new"] = "refused" if is_new else "nothing new"
        return Outcome(kind, f"{version} stays a candidate: {decision['reason']}", version, decision)
    history = registry.history(model, PRODUCTION)
    if any(change.id == wish for change in history):
        return Outcome("nothing new", f"{version} was promoted before: {decision['reason']}", version, decision)
    now = history[-1].version if history else None
    if now != against:
        return Outcome(
            "overtaken",
            f"{version} was to replace {against}, but {now} is in production since; promote it by hand if it is better",
            version,
            decision,
        )
    registry.promote(model, version, why=decision["reason"], who="retrain", id=wish, expected=against)
    return Outcome("promoted", f"{version} is in production: {decision['reason']}", version, decision)

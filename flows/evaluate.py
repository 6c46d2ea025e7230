"""The flow `evaluate`: a model, and another one beside it, on one benchmark."""

import cv2
from pydantic import Field

from flows.artifacts import image_artifact, markdown_artifact
from flows.judging import judge_lq, judge_model, judge_pair, persona_val
from flows.server import flow
from storage.evaluation import Evaluation
from storage.frozen import Frozen
from storage.registry import Registry
from storage.store import Store
from tasks.benchmark.persona_val import ValConfig
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.training.new_data import newest_snapshot


class EvaluateJob(Frozen):
    """Which models are judged, and on what."""

    root: str
    """Where everything is kept; a local folder."""
    dataset: str
    """Name of the dataset whose newest snapshot gives PERSONA-Val."""
    model: str = "osdhuman@candidate"
    """In the registry: `name@alias`, `name/version`, or `name` for its production."""
    against: str | None = "osdhuman@production"
    """The model to compare with; empty = the LQ pictures themselves."""
    benchmark: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """A benchmark below `benchmarks/`; empty = PERSONA-Val of the newest snapshot."""
    val: ValConfig = ValConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def _run_name() -> str:
    from prefect.runtime import flow_run

    job = EvaluateJob.model_validate(flow_run.parameters["job"])
    return f"evaluate {job.model} against {job.against or 'LQ'} on {job.benchmark or 'PERSONA-Val'}"


@flow(name="evaluate", flow_run_name=_run_name)
def evaluate(job: EvaluateJob) -> Evaluation:
    """A table of every metric with its interval, and of the differences; what was judged before is only shown."""
    store = Store(job.root)
    registry = Registry(store)
    model, version = registry.parse(job.model)
    opponent = "/".join(registry.parse(job.against)) if job.against else None
    if job.benchmark:
        benchmark = store.local(f"benchmarks/{job.benchmark}")
    else:
        benchmark = persona_val(store.local(newest_snapshot(store, job.dataset).path), job.val)
    judged = judge_model(benchmark, registry.resolve(f"{model}/{version}"), job.evaluate, label=f"{model}-{version}")
    if opponent:
        label = opponent.replace("/", "-")
        other = judge_model(benchmark, registry.resolve(opponent), job.evaluate, label=label)
    else:
        other = judge_lq(benchmark, job.evaluate)
    show_evaluation(store, judged)
    comparison = judge_pair(benchmark, judged, other, job.evaluate)
    table = store.local(f"{comparison.path}/table.md").read_text(encoding="utf-8")
    markdown_artifact(f"comparison-{comparison.id}", table, f"{judged.label} against {other.label}")
    return judged


def show_evaluation(store: Store, evaluation: Evaluation) -> None:
    """The table and the worst pictures of an evaluation, on the run's page."""
    folder = store.local(evaluation.path)
    markdown_artifact(
        f"evaluation-{evaluation.id}", (folder / "table.md").read_text(encoding="utf-8"), evaluation.label
    )
    for side in ("best", "worst"):
        picture = cv2.imread(str(folder / f"{side}.jpg"))
        if picture is not None:
            image_artifact(
                f"{side}-{evaluation.id}", picture, f"{evaluation.label}: the {side} by {evaluation.primary}"
            )

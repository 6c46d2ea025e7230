"""The flow `retrain`: a new snapshot becomes a better model in production, or a candidate with the reason why not."""

from pathlib import Path

from dashboards.decision import decision_markdown
from flows.artifacts import markdown_artifact
from flows.evaluate import show_evaluation
from flows.execution.run_log import run_log
from flows.judging import judge_lq, judge_model, judge_pair, persona_val
from flows.retraining import Outcome, RetrainConfig, Steps, retrain_with
from flows.server import NO_CACHE, RETRY_NETWORK, emit_event, flow, get_run_logger, task
from flows.train import train
from storage.evaluation import Comparison, Evaluation
from storage.store import Store
from tasks.benchmark.persona_val import ValConfig
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.training.train import TrainingPlan

NOT_PROMOTED = "persona.model.not-promoted"
"""The event of a model that was trained and did not become the one in use."""


def _run_name() -> str:
    from prefect.runtime import flow_run

    config = RetrainConfig.model_validate(flow_run.parameters["config"])
    return f"retrain {config.train.model} on {flow_run.parameters.get('snapshot') or config.train.dataset}"


@flow(name="retrain", flow_run_name=_run_name)
def retrain(config: RetrainConfig, snapshot: str | None = None) -> Outcome:
    """Train on the newest snapshot if it is worth it, judge, and promote only what is better.

    Args:
        config: when a training is worth it, and what a candidate must show.
        snapshot: id of the snapshot; empty = the newest of the dataset.
    """
    with run_log(Store(config.train.root), f"retrain-{config.train.model}"):
        outcome = retrain_with(_steps(config.train.root), config, snapshot)
    get_run_logger().info("%s: %s", outcome.kind, outcome.reason)
    if outcome.kind in ("refused", "overtaken"):
        model = f"{config.train.model}/{outcome.version}"
        resource = {"prefect.resource.id": f"persona.model.{model}", "prefect.resource.name": model}
        emit_event(NOT_PROMOTED, resource, payload={"reason": outcome.reason})
    if outcome.decision:
        text = decision_markdown(outcome.kind, outcome.reason, outcome.decision)
    else:
        text = f"**{outcome.kind.capitalize()}.** {outcome.reason}.\n"
    markdown_artifact(f"decision-{config.train.model}", text, f"{config.train.model}: {outcome.kind}")
    return outcome


def _steps(root: str) -> Steps:
    """The long parts as Prefect's tasks and flows."""

    def start_training(plan: TrainingPlan) -> None:
        train(plan.job, plan.snapshot.id)

    @task(name="persona-val", cache_policy=NO_CACHE, **RETRY_NETWORK)
    def make_val(snapshot: Path, config: ValConfig) -> Path:
        return persona_val(snapshot, config)

    @task(name="judge", task_run_name="judge {label}", cache_policy=NO_CACHE, **RETRY_NETWORK)
    def judge(benchmark: Path, model: Path | None, label: str, config: EvaluateConfig) -> Evaluation:
        if model is None:
            evaluation = judge_lq(benchmark, config)
        else:
            evaluation = judge_model(benchmark, model, config, label=label)
        show_evaluation(Store(root), evaluation)
        return evaluation

    @task(name="compare", cache_policy=NO_CACHE, **RETRY_NETWORK)
    def compare(benchmark: Path, candidate: Evaluation, against: Evaluation, config: EvaluateConfig) -> Comparison:
        return judge_pair(benchmark, candidate, against, config)

    return Steps(start_training, make_val, judge, compare)

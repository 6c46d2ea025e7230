"""The flow `close-children`: task runs and sub-flows end with the run that started them.

Prefect corrects the run whose process died, and only that: what it had started would stay Running for ever.
"""

from uuid import UUID

from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed, State

MESSAGE = "it ended with the run that started it"
_OPEN = {StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED, StateType.PAUSED, StateType.CANCELLING}


@flow(name="close-children", flow_run_name="what {run} started")
def close_children(run: str) -> int:
    """Set what a run had started to Crashed, as far as it is not at its end; returns how much that was.

    Args:
        run: id of a flow run that has ended, with or without the words before it in an event.
    """
    flow_run_id = UUID(run.removeprefix("prefect.flow-run."))
    with get_client(sync_client=True) as client:
        if _is_open(client.read_flow_run(flow_run_id).state):  # taken for dead, and beating again since
            return 0
        return _close(client, flow_run_id)


def _close(client: SyncPrefectClient, flow_run_id: UUID) -> int:
    num_closed = 0
    run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    for task_run in client.read_task_runs(flow_run_filter=run):
        if _is_open(task_run.state):
            client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
            num_closed += 1
    started = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    for child in client.read_flow_runs(flow_run_filter=started):
        if _is_open(child.state):
            client.set_flow_run_state(child.id, Crashed(message=MESSAGE), force=True)
            num_closed += 1
        num_closed += _close(client, child.id)
    return num_closed


def _is_open(state: State | None) -> bool:
    return state is None or state.type in _OPEN

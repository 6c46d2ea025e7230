"""What the Prefect server does by itself: it ends the dead, and it tells people what went wrong."""

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.retrain import NOT_PROMOTED
from flows.server import HEARTBEAT_S

FLOWS = ("curate", "train", "evaluate", "retrain", "review")
"""Ours: whatever else runs on the same server beats as often as it likes."""

ZOMBIES = "flow runs without heartbeat are crashed"
REVIVAL = "flow runs that beat are running"
ALERTS = "people are told of failed, crashed, late and refused"
DEAD_AFTER_S = 3 * HEARTBEAT_S

_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_OURS = ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)})


def zombie_automation() -> AutomationCore:
    """A flow run whose process died with its worker sends no heartbeats; after three missed ones it is crashed.

    Without this it would stay Running for ever, and with it its limits. Every run of ours beats every `HEARTBEAT_S`:
    those of workers through the work pool's template, those of the command line by themselves.
    """
    return AutomationCore(
        name=ZOMBIES,
        description="A run whose process is gone with its worker would stay Running for ever.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_ENDS},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=DEAD_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"no heartbeat for {DEAD_AFTER_S} s: its process died",
                force=False,
            )
        ],
    )


def revival_automation() -> AutomationCore:
    """A run that beats lives, whatever was said of it: a server that was away for minutes has missed its heartbeats.

    They arrive when the server is back, but it may have looked at its clock before.
    """
    return AutomationCore(
        name=REVIVAL,
        description="A server that was away has missed heartbeats of the living.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Crashed"},
            expect={_HEARTBEAT},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(seconds=DEAD_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(name="Running", state=StateType.RUNNING, message="it beats: it was not dead", force=True)
        ],
    )


def alert_automation(block_document_id: UUID) -> AutomationCore:
    """Sends a notification of every run that failed, crashed or is late, and of every model that was not promoted.

    Args:
        block_document_id: of the notification block, which knows where to.
    """
    return AutomationCore(
        name=ALERTS,
        description="Through the notification block persona-alerts.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.Late", NOT_PROMOTED},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*", "persona.model.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=block_document_id,
                subject="PersonaForge: {{ event.event }}",
                body="{{ event.resource.name }}: {{ event.payload.reason or event.resource['prefect.state-message'] }}",
            )
        ],
    )

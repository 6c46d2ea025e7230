"""The flow `review`: what people said in the App comes back into the data, and the next selection obeys it."""

from flows.artifacts import markdown_artifact
from flows.pull_reviews import pull_reviews
from flows.server import flow


def _run_name() -> str:
    from prefect.runtime import flow_run

    return f"review {flow_run.parameters['root']}"


@flow(name="review", flow_run_name=_run_name)
def review(root: str, user: str | None = None) -> int:
    """Bring keep, drop and notes from the App into the table of reviews; returns how many were new.

    Args:
        root: where the dataset lies whose crops were looked at.
        user: who said it; empty is the user who runs this.
    """
    pull = pull_reviews(root, user)
    markdown_artifact("reviews", "\n".join(f"- {line}" for line in pull.sentences()), "what people said in the App")
    return len(pull.added)

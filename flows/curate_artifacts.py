"""What a run of `curate` leaves for people: contact sheet and report below the root, and both on Prefect's page."""

import numpy as np
from PIL import Image

from dashboards.contact_sheet import contact_sheet
from flows.artifacts import funnel_artifact, image_artifact, link_artifact
from flows.config import CurateConfig
from flows.dashboard_data.report import photo_loader, report_of_run
from flows.pipeline import Curated
from flows.run_outputs import contact_sheet_path, report_path
from storage.run_record import list_run_records, read_run_record
from storage.store import Store


def leave_funnel(config: CurateConfig) -> None:
    """Show how far the run came, also where it ended with an error."""
    store = Store(config.root)
    if config.name in list_run_records(store):
        funnel_artifact(config.name, read_run_record(store, config.name).reports)


def leave_pictures(config: CurateConfig, curated: Curated) -> None:
    """Draw the contact sheet, write the report, and show both."""
    store = Store(config.root)
    sheet = _contact_sheet(config, curated)
    with store.new_file(contact_sheet_path(config.name)) as aside:
        sheet.save(aside, "PNG")
    image_artifact(f"contact-sheet {config.name}", np.asarray(sheet)[..., ::-1], f"Crops of {config.name}, and why not")
    path = report_path(config.name)
    store.write_text(path, report_of_run(store, config.name))
    words = f"The whole story in one HTML file: `{store.full(path)}`"
    link_artifact(f"report {config.name}", _address(config, path), f"Report on {config.name}", words)


def _contact_sheet(config: CurateConfig, curated: Curated) -> Image.Image:
    stages = curated.stages
    with_rejects = [shard for stage, shards in stages.items() if stage != "select" for shard in shards]
    chosen = sum(r.counts["crop"].num_kept for r in curated.reports if r.stage == "select")
    title = f"{config.name}: {chosen} crops chosen"
    return contact_sheet(
        title,
        stages["select"],
        stages["crop"],
        with_rejects,
        photo_loader(Store(config.root), config.sources, config.photo),
    )


def _address(config: CurateConfig, path: str) -> str:
    """What a browser opens a file below the root with."""
    if config.run.files_url:
        return f"{config.run.files_url.rstrip('/')}/{path}"
    store = Store(config.root)
    return store.local(path).as_uri() if store.is_local else f"{config.root.rstrip('/')}/{path}"

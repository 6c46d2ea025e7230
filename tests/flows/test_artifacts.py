"""What a run leaves on its Prefect page, seen through the server's interface and through a real browser."""

import base64
import json
import subprocess
import sys

import pytest

from tests.flows.prefect_run import ask
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def left(demo, prefect_server):
    """Key → artifact of the demo's run."""
    assert demo[1].returncode == 0, demo[1].stderr
    return {artifact["key"]: artifact for artifact in ask(prefect_server, "artifacts/filter", {})}


def test_a_run_leaves_its_funnel_a_picture_and_a_link(left, demo):
    funnel, sheet, report = left["funnel-demo"], left["contact-sheet-demo"], left["report-demo"]
    rows = json.loads(funnel["data"])
    assert {row["source"] for row in rows} == {"coco", "open-images", "objects365", "crowdhuman", "(all)"}
    assert all(row["in"] == row["kept"] + row["rejected"] + row["failed"] for row in rows)
    assert "](data:image/jpeg;base64," in sheet["data"] and len(sheet["data"]) < 1_500_000
    path = demo[0] / "reports/demo.html"
    assert path.stat().st_size > 4_000_000
    assert f"]({path.as_uri()})" in report["data"]
    assert {artifact["flow_run_id"] for artifact in left.values()} == {funnel["flow_run_id"]}


def test_the_page_of_the_run_shows_them_in_a_browser(left, prefect_server, chromium):
    site = prefect_server["PREFECT_API_URL"].removesuffix("/api")
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(1000 * PATIENCE_S)
    password = base64.b64encode(prefect_server["PREFECT_API_AUTH_STRING"].encode()).decode()
    page.add_init_script(f"localStorage.setItem('prefect-password', '{password}')")  # as its login page does
    page.goto(f"{site}/runs/flow-run/{left['funnel-demo']['flow_run_id']}")
    page.get_by_text("curate demo coco+open-images+objects365+crowdhuman").first.wait_for()
    page.get_by_text("Artifacts", exact=True).last.click()
    for key in ("funnel-demo", "contact-sheet-demo", "report-demo"):
        page.get_by_text(key).first.wait_for()
    page.goto(f"{site}/artifacts/artifact/{left['contact-sheet-demo']['id']}")
    picture = page.locator("img[src^='data:image/jpeg']")
    picture.wait_for()
    assert picture.evaluate("(image) => image.complete && image.naturalWidth") > 1000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.goto(f"{site}/artifacts/artifact/{left['funnel-demo']['id']}")
    page.get_by_text("near_duplicate").first.wait_for()


def test_the_form_of_a_deployment_describes_every_key():
    from prefect.utilities.callables import parameter_schema

    from flows.curate import curate

    schema = parameter_schema(curate).model_dump()
    crop, config = schema["definitions"]["CropConfig"], schema["definitions"]["CurateConfig"]
    assert crop["properties"]["min_side_px"]["description"].startswith("Longer side of a person box")
    undescribed = [k for k, v in config["properties"].items() if not v.get("description") and "$ref" not in str(v)]
    assert undescribed == []


def test_outside_of_a_run_nothing_happens_and_no_server_is_started(prefect_server, tmp_path):
    script = (
        "from flows.artifacts import markdown_artifact, stage_progress\n"
        "markdown_artifact('a decision', '# no')\n"
        "with stage_progress('crop', 3) as advance: advance(3)\n"
    )
    nobody = {**prefect_server, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=nobody, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

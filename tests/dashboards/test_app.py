"""The App in a real browser: what is tagged there arrives in the reviews and changes the next selection."""

import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from dashboards.fiftyone.locked_app import TOKEN
from storage.reviews import standing_verdicts
from storage.snapshot import list_snapshots
from storage.store import Store
from tests.dashboards.conftest import curated, free_port, persona
from tests.waiting import PATIENCE_S, wait_until

LOADED = '[data-cy="looker"] canvas[canvas-loaded="true"]'


@pytest.fixture
def app(browsed):
    """Address of a running App."""
    root, environment = browsed
    port = free_port()
    log = (root.parent / "app.log").open("w")
    command = [sys.executable, "-m", "flows.cli", "browse", str(root), "--port", str(port)]
    server = subprocess.Popen(command, env={**environment, TOKEN: "let-me-in"}, stdout=log, stderr=log)

    def answers():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
        except urllib.error.HTTPError as answer:
            return answer.code == 403
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, (root.parent / "app.log").read_text()

    wait_until(answers, otherwise=(root.parent / "app.log").read_text)
    yield f"http://127.0.0.1:{port}/datasets/mini-crops"
    server.terminate()
    server.wait(PATIENCE_S)


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    # An advert covers the grid of a new user otherwise.
    context.add_init_script("localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true')")
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.route("**/fonts.googleapis.com/**", lambda route: route.abort())
    yield page
    context.close()


def num_samples(page):
    page.wait_for_selector(LOADED)
    return int(page.locator('[data-cy="entry-counts"]').first.inner_text().split()[0])


def test_a_tag_set_in_the_app_changes_the_next_selection(browsed, app, page, shared_data):
    root, environment = browsed
    store = Store(str(root))
    (before,) = list_snapshots(store)
    num_kept = before.manifest().num_rows
    page.goto(f"{app}?token=let-me-in")
    num_all = num_samples(page)
    page.goto(f"{app}?view=kept")
    assert num_samples(page) == num_kept < num_all

    first = page.locator('[data-cy="looker"]').first
    first.hover()
    first.locator("label").click()
    page.locator('[data-cy="action-tag-sample-labels"]').first.click()
    tag = page.locator('[data-cy="popout"] input').first
    tag.fill("drop")
    tag.press("Enter")
    page.locator('[data-cy="button-Apply"]').click()
    page.wait_for_selector('[data-cy="popout"]', state="detached")

    def pulled():
        done = persona(environment, "review", "pull", root, "--user", "ada")
        assert done.returncode == 0, done.stderr
        return standing_verdicts(store)

    wait_until(pulled, otherwise="the tag never arrived in the database")
    assert list(standing_verdicts(store).values()) == ["drop"]
    again = persona(environment, "review", "pull", root)
    assert "Nothing new was said" in again.stdout and len(list((root / "reviews").iterdir())) == 1

    after = curated(root, shared_data)
    assert after.id != before.id
    assert after.manifest().num_rows == num_kept - 1
    assert after.manifest().reviews == {"reviewed": 1, "changed": 1, "kept_by_people": 0, "dropped_by_people": 1}


READ = """
async (address) => {
  try { const answer = await fetch(address); return [answer.status, await answer.text()] } catch { return 0 }
}
"""


def test_no_other_page_user_or_path_is_let_through_the_lock(browsed, app, page, chromium):
    site = app.partition("/datasets")[0]
    secret = browsed[0].parent / "secret.txt"
    secret.write_text("mine")
    for address in (f"{site}/media?filepath={secret}", f"{site}/", f"{app}?token=guess"):  # another user of the machine
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address, timeout=PATIENCE_S)
    page.goto(f"{app}?token=let-me-in")
    page.locator('[data-cy="looker"]').first.wait_for()
    assert page.evaluate(READ, f"{site}/media?filepath={secret}")[0] == 404  # the owner, led to a file of no dataset
    foreign = page.context.new_page()  # in the browser that holds the cookie
    foreign.route("http://localhost:1/", lambda route: route.fulfill(body="nice pictures"))
    foreign.goto("http://localhost:1/")
    assert foreign.evaluate(READ, f"{site}/media?filepath={secret}") == 0
    assert foreign.evaluate(READ, f"{site}/fiftyone") == 0
    foreign.goto(f"{site.replace('127.0.0.1', 'localhost')}/fiftyone")  # as after DNS rebinding: no cookie of that name
    assert "printed" in foreign.content()

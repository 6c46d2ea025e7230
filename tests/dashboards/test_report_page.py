"""The report in a real browser: it draws, stays in its width, asks for nothing, and is for everybody."""

from itertools import pairwise

import pytest

from flows.cli.demo import demo_config
from flows.dashboard_data.report import report_of
from flows.pipeline import curate_with

READY = "document.querySelectorAll('.main-svg').length >= document.querySelectorAll('.chart').length"

CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const worst = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest("script, style, noscript")) continue;
    const ink = numbers(e.closest("svg") ? getComputedStyle(e).fill : getComputedStyle(e).color);
    const [a, b] = [luminance(ink), luminance(background(e))];
    worst.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.textContent.slice(0, 40)]);
  }
  return worst.sort((x, y) => x[0] - y[0]);
}"""


class InThisProcess:
    """Runs the jobs of a stage one after the other."""

    def run(self, stage, jobs):
        return [job.function(*job.arguments) for job in jobs]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The report on the demo's real photos."""
    root = tmp_path_factory.mktemp("demo")
    curate_with(InThisProcess(), demo_config(root))
    file = root / "report.html"
    file.write_text(report_of(str(root)), encoding="utf-8")
    return file


@pytest.fixture
def opened(chromium, page_file):
    """Opens the page at a width and in a colour scheme; whatever it logs or asks for is an error."""
    pages = []

    def open_at(width=1400, scheme="light"):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.wrong = []
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or page.wrong.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_function(READY)
        pages.append(page)
        return page

    yield open_at
    for page in pages:
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_chart_draws_within_the_page_and_nothing_is_asked_for(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".chart").count() >= 8
    for plot in page.locator(".chart .plot").all():
        box = plot.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert plot.locator("path, text").count() > 5
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 20)")
    assert page.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(opened, scheme):
    found = opened(scheme=scheme).evaluate(CONTRAST)
    assert len(found) > 200
    assert found[0][0] >= 4.5, found[:5]


def test_colours_follow_the_system_while_the_page_is_open(opened):
    page = opened()
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{ink} !== '{light}'")


def test_headings_landmarks_and_names_tell_the_page_without_eyes(opened):
    page = opened()
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.locator(f"body > {landmark}").count() == 1
    assert page.evaluate("[...document.images].every((i) => i.alt.length > 10)")
    assert page.evaluate(
        "[...document.querySelectorAll('.plot')].every((p) => p.getAttribute('aria-label').length > 20)"
    )
    assert page.locator(".chart").count() == page.locator("figure > details table").count()
    links = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href').slice(1))")
    assert links == page.evaluate("[...document.querySelectorAll('main > section')].map((s) => s.id)")


def test_the_keyboard_reaches_the_content_at_once_and_the_numbers_behind_a_chart(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("details[open] table").first.is_visible()


def test_print_has_every_section_in_light_colours(opened, tmp_path):
    page = opened(scheme="dark")
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 2
    page.emulate_media(media="print")
    page.wait_for_function("getComputedStyle(document.querySelector('.xtick text')).fill === 'rgb(36, 41, 47)'")
    assert page.evaluate("[...document.querySelectorAll('main > section')].every((s) => s.checkVisibility())")
    assert page.locator("nav").is_hidden()

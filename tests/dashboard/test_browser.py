"""What a person sees, in a real Chromium, of a store that a real study filled at smoke scale."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from live import Story
from PIL import Image
from playwright import sync_api as playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUESTION = "How many denoising steps does a diffusion model need?"
WAIT = 60_000  # milliseconds

# No Python package brings a browser. The gate installs it, so nothing is skipped there; elsewhere the test run lists
# what is, with this reason.
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which .ci/run installs")


@pytest.fixture(scope="module")
def server(smoke_story: Story) -> str:
    """The address of the stack's dashboard, on a store in which `step_sweep` was executed at smoke scale."""
    return smoke_story.stack.services["dashboard"].url


class Reader:
    """A browser that remembers which hosts were asked and what went wrong."""

    def __init__(self, browser: playwright.Browser, server: str, scheme: str) -> None:
        self.server = server
        self.hosts: set[str | None] = set()
        self.errors: list[str] = []
        context = browser.new_context(viewport={"width": 1360, "height": 1000}, color_scheme=scheme)
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, path: str) -> playwright.Page:
        self.page.goto(f"{self.server}/{path}")
        self.page.wait_for_selector("h1")
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def reader(server: str, browser: playwright.Browser, request: pytest.FixtureRequest) -> Iterator[Reader]:
    reader = Reader(browser, server, request.param)
    yield reader
    assert not reader.errors
    assert reader.hosts <= {"127.0.0.1", None}, "a page asks another machine for something"
    reader.page.context.close()


def test_front_page_leads_to_the_evidence(reader: Reader, request: pytest.FixtureRequest) -> None:
    page = reader.open("")
    page.get_by_role("heading", name=QUESTION).wait_for()
    page.get_by_text("inconclusive").first.wait_for()  # two seeds decide nothing
    page.locator("[data-testid=stVegaLiteChart] svg, [data-testid=stVegaLiteChart] canvas").first.wait_for()
    corner = Image.open(io.BytesIO(page.screenshot())).convert("L").getpixel((680, 990))
    dark = "dark" in request.node.name
    assert corner < 60 if dark else corner > 200
    page.get_by_role("link", name="See the evidence").first.click()
    page.get_by_role("heading", name="Verdict").wait_for()
    page.get_by_role("heading", name=QUESTION, level=1).wait_for()


def test_study_page_shows_charts_and_loaded_pictures(reader: Reader) -> None:
    page = reader.open("study?study=step_sweep")
    for heading in (
        "Verdict",
        "Quality against",
        "Without any network",
        "Pictures",
        "Every trial",
        "Make it again",
    ):
        page.get_by_role("heading", name=heading).first.wait_for()
    page.get_by_text(
        "python -m pipelines.study step_sweep --data digits --scale smoke --seeds 0 1"
    ).wait_for()
    images = page.locator("[data-testid=stImage] img")
    images.nth(2).wait_for()
    for index in range(images.count()):
        image = images.nth(index)
        image.scroll_into_view_if_needed()
        assert image.get_attribute("alt")
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    charts = page.locator("[data-testid=stVegaLiteChart]")
    assert charts.count() >= 3
    for index in range(charts.count()):
        charts.nth(index).scroll_into_view_if_needed()
        charts.nth(index).locator("svg, canvas").first.wait_for()


def test_a_view_can_be_shared_by_its_address(server: str, browser: playwright.Browser) -> None:
    first = Reader(browser, server, "light")
    page = first.open("study?study=step_sweep")
    slider = page.get_by_role("slider", name="Network evaluations per sample")
    slider.focus()
    slider.press("End")
    page.wait_for_url("**steps=1000**")
    second = Reader(browser, server, "light")
    shared = second.open(page.url.removeprefix(f"{server}/"))
    shared.get_by_text("DDPM ancestral at 1000", exact=True).wait_for()
    for each in (first, second):
        each.page.context.close()


def test_the_link_to_mlflow_opens_the_runs_of_the_study(server: str, browser: playwright.Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{server}/study?study=step_sweep")
    address = page.get_by_role("link", name="Experiment in MLflow").get_attribute("href")
    page.goto(address)
    page.wait_for_selector("text=/[1-9][0-9]* matching runs/")
    page.close()


def test_fits_page_shows_learning_curves(reader: Reader) -> None:
    page = reader.open("fits")
    page.get_by_text("3 of 3").wait_for()  # a network for each seed, and the classifier
    page.locator("[data-testid=stVegaLiteChart] svg, [data-testid=stVegaLiteChart] canvas").first.wait_for()

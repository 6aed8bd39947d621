"""The whole product as a newcomer meets it: a real browser, real vLLM replicas, one machine."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.product import Product, running_product

pytestmark = [pytest.mark.vllm, pytest.mark.browser, pytest.mark.timeout(1200)]

CHROMIUM = shutil.which("chromium")
# Chromium's own background traffic has no place in a test.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MEASURING_MS = 600_000
STARTING_MS = 240_000
SHORT_MS = 30_000
SHOTS = os.environ.get("BOUTE_SCREENSHOTS")
"""Folder that the pictures in README and docs are written to; unset, none are."""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("boute")) as product:
        yield product


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "no Chromium: `apt-get install chromium` (the Makefile does it where it may)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def test_from_first_start_to_the_bill(product: Product, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(product.dashboard_url)
    start_built_in_fleet(page)
    pick_a_plan(page, product)
    deploy_it(page)
    ask_the_gateway(page)
    see_the_bill(page)


def start_built_in_fleet(page: Page) -> None:
    expect(page.locator(".st-key-start_built_in button")).to_be_visible(timeout=SHORT_MS)
    shot(page, "overview-empty")
    page.locator(".st-key-start_built_in button").click()
    expect(page.get_by_text(re.compile("Profile small"))).to_be_visible(timeout=SHORT_MS)


def pick_a_plan(page: Page, product: Product) -> None:
    product.wait_for_front(MEASURING_MS / 1000)
    open_page(page, "Models & profiling")
    expect(page.get_by_text("measured").first).to_be_visible(timeout=SHORT_MS)
    shot(page, "profiling")
    open_page(page, "Optimise")
    points = page.locator(".st-key-study_front g.points path.point")
    expect(points.first).to_be_visible(timeout=SHORT_MS)
    points.first.click(force=True)
    expect(page.get_by_text("Routing").first).to_be_visible(timeout=SHORT_MS)
    shot(page, "optimise")


def deploy_it(page: Page) -> None:
    open_page(page, "Deploy")
    page.locator(".st-key-deploy_open button").click()
    confirm = page.locator(".st-key-deploy_confirm button")
    expect(confirm).to_be_visible(timeout=SHORT_MS)
    # Fields come a moment after buttons: the browser loads their code when it first meets one.
    page.wait_for_timeout(3000)
    why = page.locator(".st-key-deploy_override input")
    if why.count():  # the first point of the front need not be sure to keep the wanted latency
        why.fill("A test of the journey")
        expect(why).to_have_value("A test of the journey")
    confirm.click()
    expect(confirm).to_have_count(0, timeout=SHORT_MS)
    state = page.locator(".st-key-deployment_state")
    expect(state).to_contain_text("active", timeout=STARTING_MS)


def ask_the_gateway(page: Page) -> None:
    box = page.locator(".st-key-ask_text input, .st-key-ask_text textarea")
    box.fill("What is 3 + 4?")
    page.locator(".st-key-ask_send button").click()
    expect(page.get_by_text(re.compile(r"Answer: 7\.")).first).to_be_visible(timeout=SHORT_MS)
    shot(page, "deploy")


def see_the_bill(page: Page) -> None:
    open_page(page, "Costs")
    expect(page.get_by_text(re.compile(r"\$")).first).to_be_visible(timeout=SHORT_MS)
    expect(page.get_by_text("Latest requests").first).to_be_visible(timeout=SHORT_MS)
    shot(page, "costs")


def open_page(page: Page, title: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", name=title).first).to_be_visible(timeout=SHORT_MS)


def shot(page: Page, name: str) -> None:
    """Take a picture once everything on the page is drawn, the whole of it in view."""
    if not SHOTS:
        return
    size = page.viewport_size
    page.set_viewport_size({"width": 1400, "height": 1350})
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=SHORT_MS)
    for chart in page.get_by_test_id("stPlotlyChart").all():
        expect(chart.locator("svg.main-svg").first).to_be_visible(timeout=SHORT_MS)
    page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))
    if size:
        page.set_viewport_size(size)


def test_nothing_is_left_running(product: Product) -> None:
    product.stop()
    assert any("vllm" in name for name in map(str.lower, product.descendant_names))
    _, alive = psutil.wait_procs(product.descendants, timeout=5)
    assert alive == []

"""The pages in a real browser: nothing fails or is loaded, and everybody can read and use them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fourierkd.analysis.report import write_report
from fourierkd.analysis.results import results_table
from fourierkd.analysis.runs_page import write_runs_page
from fourierkd.run_dir import RunDir

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
INSTALLED = importlib.util.find_spec("playwright") and importlib.util.find_spec(
    "axe_playwright_python"
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"),
    pytest.mark.skipif(not INSTALLED, reason="needs playwright and axe-playwright-python"),
]
Open = Callable[..., Any]
PATIENCE = 300_000  # milliseconds, on a busy machine
PHONE = {"viewport": {"width": 390, "height": 844}}
SEEN = {  # page and how it is looked at
    "light": ("study", {"color_scheme": "light"}),
    "dark": ("study", {"color_scheme": "dark"}),
    "phone": ("study", PHONE),
    "runs": ("runs", {"color_scheme": "dark", **PHONE}),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(study_dir: Path, study_runs: list[RunDir]) -> dict[str, Path]:
    """A study's page, with warnings, and one of runs of it, with spectra."""
    study = write_report(
        study_dir, results_table(study_runs), None, {"warnings": ["Two runs were late."]}
    )
    folders = [run.path for run in study_runs if "final_tuned" in run.path.name]
    write_runs_page(folders, runs := study_dir / "runs.html")
    return {"study": study, "runs": runs}


@pytest.fixture
def open_page(browser: Any, pages: dict[str, Path]) -> Iterator[Open]:
    """``open_page(name, **how)``: the page; a message or a request of it fails the test."""
    contexts, told = [], []

    def go(name: str, **how: Any) -> Any:
        contexts.append(browser.new_context(**how))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        address = pages[name].as_uri()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                told.append(asked.url)
                if asked.url != address and not asked.url.startswith(("data:", "blob:"))
                else None
            ),
        )
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert told == []


def draw_all(page: Any) -> int:
    """Go through the page as a reader does; returns how many figures are drawn."""
    page.evaluate("figures.forEach(place => { place.scrollIntoView(); draw(place); })")
    page.wait_for_function("figures.every(place => place.querySelector('.main-svg'))")
    return int(page.evaluate("figures.length"))


@pytest.mark.parametrize(("name", "how"), SEEN.values(), ids=SEEN)
def test_everybody_can_read_it(open_page: Open, name: str, how: dict[str, Any]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(name, **how)
    assert draw_all(page) >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
    passed = {rule["id"] for rule in found["passes"]}
    assert passed >= {"color-contrast", "document-title", "image-alt", "button-name"}


def test_figures_wait_for_their_reader_and_all_are_printed(open_page: Open) -> None:
    page = open_page("study")
    drawn = "figures.filter(place => place.querySelector('.main-svg')).length"
    few = page.wait_for_function(drawn).json_value()
    everything = page.evaluate("figures.length")
    assert 0 < few < everything
    page.pdf()
    assert page.evaluate(drawn) == everything


PAPER = """() => {
  const inner = document.querySelector("main").getBoundingClientRect().right;
  const shown = [...document.querySelectorAll("table, figure, img, .main-svg, p, dl")];
  const cut = shown.filter(part => part.getBoundingClientRect().right > inner + 1);
  return cut.map(part => part.id || part.outerHTML.slice(0, 80));
}"""


def test_on_paper_nothing_is_cut_off_and_nothing_is_dark(open_page: Open) -> None:
    """As printed from dark mode, with the names of a study of many methods."""
    page = open_page("study", color_scheme="dark", viewport={"width": 703, "height": 994})
    names = "[...document.querySelectorAll('#table-pairs tbody td')]"
    page.evaluate(f"{names}.forEach(cell => cell.prepend('a_method_of_a_very_long_name'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert "table-pairs" in page.evaluate(PAPER)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(PAPER) == []
    white, black = "rgb(255, 255, 255)", "rgb(31, 41, 55)"
    style = "getComputedStyle(document.body)"
    assert page.evaluate(f"[{style}.backgroundColor, {style}.color]") == [white, black]
    kept = "['thead', 'tr', 'figure', '.plot'].map(part => getComputedStyle("
    kept += "document.querySelector(part)).breakInside)"
    assert page.evaluate(kept) == ["avoid"] * 4
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelector('#table-pairs').style.zoom") == ""


def column(page: Any, table: str, place: int) -> list[str]:
    cells = f"#table-{table} tbody tr > :nth-child({place})"
    return [text.strip() for text in page.locator(cells).all_inner_texts()]


def test_tables_sort_by_mouse_and_keys(open_page: Open) -> None:
    page = open_page("study")
    before = column(page, "result", 3)
    assert before[-1] == "–"  # the teacher has no score on test
    head = page.locator("#table-result th:nth-child(3)")
    head.locator("button").click()
    known = sorted(before[:-1], key=float)
    assert column(page, "result", 3) == [*known, "–"]
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")  # it still has the focus
    assert column(page, "result", 3) == [*known[::-1], "–"]
    assert head.get_attribute("aria-sort") == "descending"

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # the first head: names
    names = [text.split("\n")[0] for text in column(page, "result", 1)]
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") is None


def test_the_contents_lead_to_the_sections(open_page: Open) -> None:
    page = open_page("study", **PHONE)
    for name in page.locator("nav a").all_inner_texts():
        page.locator("nav a", has_text=name).click()
        place = page.evaluate("document.querySelector(':target').getBoundingClientRect().top")
        assert page.evaluate("document.querySelector(':target').innerText") == name
        assert -1 <= place < 844

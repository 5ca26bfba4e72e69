"""The pages people read, opened in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.promotion.compliance.months import october
from tests.promotion.factories import a_journal
from tests.promotion.monitoring.bad_day import a_bad_day
from tests.promotion.overview.full_house import surveyed
from tests.promotion.shared_home import SharedHome

from promotion.compliance.facts import Month
from promotion.compliance.page import write_compliance_page
from promotion.compliance.report import collect
from promotion.config.settings import REPOSITORY
from promotion.overview.page import write_overview_page

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PAGES = ("compliance", "promotion", "monitoring", "overview")
WIDTHS = (1280, 390)
# Of normal text against its ground: WCAG 2.2, success criterion 1.4.3, level AA.
CONTRAST = 4.5
FAINT_TEXTS = """minimum => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const paint = colours => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const grounds = element => element
        ? [...grounds(element.parentElement), getComputedStyle(element).backgroundColor] : [];
    const faint = [];
    for (const element of document.querySelectorAll('main *')) {
        if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(paint([...grounds(element), element.closest('svg') ? style.fill : style.color])),
                        light(paint(grounds(element)))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < minimum) faint.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    return faint;
}"""


@dataclass
class Seen:
    """What a browser made of a page."""

    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    widths: tuple[int, int] = (0, 0)
    faint: list[str] = field(default_factory=list)
    ground: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    unnamed: int = 0
    picture: bytes = b""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> dict[str, Path]:
    """A month with everything; a weaker model of three classes, trained by commands; a day, and families, at fault."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        journal = a_journal(folder)
        october(journal, patch)
        month = collect(journal, {}, Month.parse("2026-10"))
    compliance, promotion = (folder / f"{name}.html" for name in PAGES[:2])
    write_compliance_page(month, compliance, spreadsheet=folder / "events.csv", journal_exists=True)
    home = folder / "home"
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    family = ("--model", "iris-classifier")
    (home / "params.yaml").write_text("max_depth: 5\n")
    call(home, "src/models/train.py", *family)
    call(home, "scripts/promote-model.py", "--auto", *family)
    (home / "params.yaml").write_text("max_depth: 1\nn_estimators: 3\n")
    call(home, "src/models/train.py", *family)
    named = ("--model-name", "iris-classifier", "--version", "2")
    call(home, "scripts/promotion-report.py", *named, "--output", str(promotion))
    overview = folder / "reports" / "index.html"
    house = SharedHome(folder / "house", empty_store).store
    write_overview_page(surveyed(house), overview, home=house.home)
    return {
        "compliance": compliance,
        "promotion": promotion,
        "monitoring": a_bad_day(folder),
        "overview": overview,
    }


def call(home: Path, *command: str) -> None:
    environment = {
        "PROMOTION_HOME": str(home),
        "PROMOTION_KEYS": str(home / "keys"),
        "XDG_CONFIG_HOME": str(home / "keys"),
        "PROMOTION_ACTOR": "tess@lab.example",
        "PATH": "/usr/bin:/bin",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LOKY_MAX_CPU_COUNT": "1",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr


def look(browser: Browser, path: Path, scheme: str, width: int) -> Seen:
    seen = Seen()
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.goto(path.as_uri())
    seen.widths = tuple(page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]"))
    seen.faint = page.evaluate(FAINT_TEXTS, CONTRAST)
    seen.ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    seen.counts = {name: page.locator(name).count() for name in ("h1", "h2", "table", "thead", "figure", "svg")}
    seen.unnamed = page.locator("svg:not([aria-label]), [role=region]:not([aria-label]):not([aria-labelledby])").count()
    seen.picture = page.screenshot(full_page=True)
    page.close()
    return seen


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_whole_quiet_and_readable(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str, scheme: str, width: int
) -> None:
    """One request, no word on the console, nothing wider than the window, every text with enough contrast."""
    seen = look(browser, pages[name], scheme, width)
    (tmp_path / f"{name}-{scheme}-{width}.png").write_bytes(seen.picture)

    assert [pages[name].as_uri()] == seen.requests
    assert [] == seen.console
    assert seen.widths[0] <= width
    assert [] == seen.faint
    assert 0 == seen.unnamed
    assert seen.ground == {"light": "rgb(247, 248, 249)", "dark": "rgb(16, 20, 24)"}[scheme]


def test_digests_stay_in_sight_beside_long_names_and_reasons(
    browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    """At 1280 pixels no table of the month has to be moved sideways, whatever people wrote."""
    text = pages["compliance"].read_text(encoding="utf-8")
    for short, long in (
        ("john.doe@company.com", "johannes.doppelgaenger-mustermann@subsidiary.company.example"),
        ("release 14", "https://tracker.company.example/browse/REL?focusedCommentId=123456789#comment-123456789"),
        ("override: days in Staging", "override: " + ", ".join(["days in Staging", "latency", "approvals"] * 4)),
    ):
        assert short in text
        text = text.replace(short, long)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    (tmp_path / "long.html").write_text(text, encoding="utf-8")
    page.goto((tmp_path / "long.html").as_uri())

    hidden = """[...document.querySelectorAll('.table')]
        .filter(table => table.scrollWidth > table.clientWidth).map(table => table.getAttribute('aria-label'))"""
    assert [] == page.evaluate(hidden)
    page.close()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("compliance", {"h1": 1, "h2": 13, "table": 9, "thead": 9}),
        ("monitoring", {"h1": 1, "h2": 7, "table": 7, "thead": 7, "figure": 9, "svg": 8}),
        ("overview", {"h1": 1, "h2": 2, "table": 3, "thead": 3, "svg": 4}),
        ("promotion", {"h1": 1, "h2": 6, "table": 5, "thead": 5, "figure": 8, "svg": 6}),
    ],
)
def test_headings_tables_and_figures_are_there(
    browser: Browser, pages: dict[str, Path], name: str, least: dict[str, int]
) -> None:
    """Real ones, which a screen reader can walk."""
    counts = look(browser, pages[name], "light", WIDTHS[0]).counts

    assert {} == {element: counts[element] for element, number in least.items() if counts[element] < number}
    assert 1 == counts["h1"]


@pytest.mark.parametrize("name", PAGES)
def test_every_entry_of_the_contents_leads_somewhere(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """The links at the top name sections that exist."""
    page = browser.new_page()
    page.goto(pages[name].as_uri())
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    missing = [target for target in targets if page.locator(target).count() != 1]
    page.close()

    assert targets
    assert [] == missing


@pytest.mark.parametrize("name", PAGES)
def test_it_prints(browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str) -> None:
    """On paper it is light, whatever the screen was, without the contents that nobody can click."""
    page = browser.new_page(color_scheme="dark")
    page.goto(pages[name].as_uri())
    paper = page.pdf(path=tmp_path / f"{name}.pdf", format="A4")
    page.emulate_media(media="print")
    ink = page.evaluate("getComputedStyle(document.body).color")
    is_shown = page.locator("nav").is_visible()
    page.close()

    assert paper.startswith(b"%PDF-")
    assert "rgb(27, 32, 38)" == ink
    assert not is_shown

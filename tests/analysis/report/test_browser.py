"""The page in a real browser: as a person with a mouse, a keyboard, a phone or a printer has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from analysis.figures.render import THEMES
from analysis.report.document import arms_of, sections, write_page
from analysis.results.reading import read_sweep
from analysis.results.summary import summarize
from analysis.verdict.replacement import Margins
from analysis.verdict.verdict import verdicts
from tests.support.browser import awaited, browser, printed, requests, show
from tests.support.results import write_everything

CHARTS = 12
PHONE = 375
#: An A4 sheet without its margins, in CSS pixels.
SHEET = 700


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    directory = write_everything(tmp_path_factory.mktemp("sweep"))
    summary = summarize(read_sweep(directory))
    found = verdicts(summary, Margins())
    parts = sections(summary, arms_of(found, summary))
    return write_page(summary, parts, found, Margins(), directory)


def shown(chrome: Chrome, page: Path, **options: object) -> None:
    """Open the page and wait until its script has drawn every chart."""
    show(chrome, page, **options)
    drawn = "return document.querySelectorAll('.chart[data-width] svg').length"
    awaited(chrome, lambda: chrome.execute_script(drawn) == CHARTS)


def legend(chrome: Chrome, chart: str) -> str:
    """Return the names in the legend of a chart."""
    labels = f"#{chart} .role-legend-label text"
    return " ".join(each.text for each in chrome.find_elements(By.CSS_SELECTOR, labels))


def panels(chrome: Chrome, chart: str) -> str:
    """Return the titles of a chart's panels."""
    titles = chrome.find_elements(By.CSS_SELECTOR, f"#{chart} .role-title-text text")
    return " ".join(each.text for each in titles)


def heading(chrome: Chrome, name: str) -> WebElement:
    """Return the button that sorts by a column."""
    return chrome.find_element(By.XPATH, f"//th/button[span[text()='{name}']]")


def column(chrome: Chrome, name: str) -> list[str]:
    """Return what the rows of the trade-off table are sorted by, from the top."""
    return chrome.execute_script(
        "const names = [...document.querySelectorAll('.sortable .name')].map(e => e.textContent);"
        "return [...document.querySelectorAll('.sortable tbody tr')]"
        ".map(row => row.cells[names.indexOf(arguments[0])].dataset.key)",
        name,
    )


def direction(chrome: Chrome, name: str) -> str | None:
    return heading(chrome, name).find_element(By.XPATH, "..").get_attribute("aria-sort")


def focused(chrome: Chrome) -> WebElement:
    return chrome.switch_to.active_element


def overflow(chrome: Chrome) -> int:
    return chrome.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("width", [1280, PHONE])
def test_it_opens_without_an_error_asks_for_nothing_and_draws_every_chart(chrome, page, width):
    shown(chrome, page, width=width)

    assert chrome.get_log("browser") == []
    assert requests(chrome) == [page.as_uri()]
    assert len(chrome.find_elements(By.CSS_SELECTOR, ".chart svg")) == CHARTS


def test_the_lookups_show_without_scrolling_at_1440_pixels(chrome, page):
    show(chrome, page, width=1440)

    edges = "const box = arguments[0].getBoundingClientRect(); return [box.left, box.right]"
    left, right = chrome.execute_script(edges, heading(chrome, "lookups, serve"))

    assert 0 <= left < right <= 1440


def test_what_the_page_may_not_load_is_seen(chrome, page):
    show(chrome, page)

    chrome.execute_script(
        "document.body.append(Object.assign(new Image(), {src: 'http://[::1]/'}))"
    )

    (message,) = awaited(chrome, lambda: chrome.get_log("browser"))
    assert "Content Security Policy" in message["message"]


def test_a_click_on_a_heading_sorts_and_a_second_click_turns_it_round(chrome, page):
    show(chrome, page)
    before = column(chrome, "relative PD")

    heading(chrome, "relative PD").click()
    rising = column(chrome, "relative PD")
    was = direction(chrome, "relative PD")
    heading(chrome, "relative PD").click()
    falling = column(chrome, "relative PD")

    assert before != rising
    assert rising == sorted(before, key=float)
    assert falling == rising[::-1]
    assert (was, direction(chrome, "relative PD")) == ("ascending", "descending")
    assert direction(chrome, "log loss") == "none"


def test_what_is_not_known_stays_last_and_names_sort_as_words(chrome, page):
    show(chrome, page)

    heading(chrome, "β").click()
    rising = column(chrome, "β")
    heading(chrome, "β").click()
    falling = column(chrome, "β")
    heading(chrome, "arm").click()

    assert rising == ["0.5", "1.0", "1.0", "", "", ""]
    assert falling == ["1.0", "1.0", "0.5", "", "", ""]
    assert column(chrome, "arm") == sorted(column(chrome, "arm"))
    assert direction(chrome, "β") == "none"


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_the_table_sorts_by_keyboard_alone(chrome, page, key):
    show(chrome, page)

    keyboard = ActionChains(chrome)
    for _ in range(60):
        keyboard.send_keys(Keys.TAB).perform()
        if focused(chrome).text.startswith("log loss\n"):
            break
    keyboard.send_keys(key).perform()

    assert direction(chrome, "log loss") == "ascending"
    assert column(chrome, "log loss") == sorted(column(chrome, "log loss"), key=float)
    assert chrome.find_element(By.ID, "sorted").get_attribute("textContent") == (
        "sorted by log loss, ascending"
    )


def test_the_first_key_leads_past_the_verdict_and_all_that_scrolls_can_be_reached(chrome, page):
    show(chrome, page)

    ActionChains(chrome).send_keys(Keys.TAB).perform()

    assert focused(chrome).text == "Skip to the table"
    for region in chrome.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label") or region.get_attribute("aria-labelledby")


def test_the_numbers_of_a_chart_open_by_keyboard(chrome, page):
    shown(chrome, page)
    summary = chrome.find_element(By.CSS_SELECTOR, "#pd_accuracy ~ details summary")

    summary.send_keys(Keys.ENTER)

    table = chrome.find_element(By.CSS_SELECTOR, "#pd_accuracy ~ details table")
    assert table.is_displayed()
    assert "smelu_half" in table.text


def test_pointing_at_an_arm_tells_its_numbers(chrome, page):
    shown(chrome, page)
    chart = chrome.find_element(By.ID, "pd_accuracy")
    chrome.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart
    )
    box = chrome.execute_script(
        'const box = document.querySelector(\'#pd_accuracy [aria-label*="kind: ensemble"]'
        "[aria-roledescription=point]').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )

    pointer = ActionChains(chrome)
    pointer.w3c_actions.pointer_action.move_to_location(*map(round, box))
    pointer.perform()

    tip = chrome.find_element(By.ID, "tip")
    told = awaited(chrome, lambda: tip.is_displayed() and tip.text)
    assert told.startswith("relu_ensemble\n")
    assert re.search(r"relative PD \d+\.\d% \[\d+\.\d, \d+\.\d\]", told)


def test_an_arm_is_added_to_every_chart_of_lines_by_keyboard(chrome, page):
    shown(chrome, page)

    def drawn() -> list[str]:
        lines = [legend(chrome, name) for name in ("pd_progress", "pd_slice_1")]
        return [*lines, panels(chrome, "calibration")]

    before = drawn()
    box = chrome.find_element(By.CSS_SELECTOR, "#arms input[value=swish]")

    chrome.execute_script("arguments[0].focus({preventScroll: true})", box)
    ActionChains(chrome).send_keys(Keys.SPACE).perform()

    assert before == ["relu smelu_1 relu_ensemble"] * 3
    after = ["relu smelu_1 relu_ensemble swish"] * 3
    assert awaited(chrome, lambda: drawn() == after)


def test_a_chart_that_has_none_of_the_chosen_arms_draws_all_that_it_has(chrome, page):
    shown(chrome, page)

    assert legend(chrome, "staleness") == "stale"


def test_a_phone_scrolls_the_table_and_never_the_page_sideways(chrome, page):
    shown(chrome, page, width=PHONE)

    assert chrome.execute_script("return window.innerWidth") == PHONE
    assert overflow(chrome) == 0
    region = chrome.find_element(By.CSS_SELECTOR, "#table .scroll")
    assert int(region.get_property("scrollWidth")) > int(region.get_property("clientWidth"))
    for chart in chrome.find_elements(By.CSS_SELECTOR, ".chart svg"):
        assert chart.size["width"] <= PHONE


def test_an_open_list_of_numbers_does_not_widen_a_phone_s_page(chrome, page):
    show(chrome, page, width=PHONE)

    chrome.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true })")

    assert overflow(chrome) == 0


def test_head_and_names_stay_while_the_table_scrolls(chrome, page):
    show(chrome, page, width=PHONE)
    region = chrome.find_element(By.CSS_SELECTOR, "#table .scroll")
    chrome.execute_script("arguments[0].style.maxHeight = '8rem'", region)
    offset = (
        "const box = arguments[0].getBoundingClientRect(), outer = arguments[1]"
        ".getBoundingClientRect(); return [box.x - outer.x, box.y - outer.y].map(Math.round)"
    )
    first = chrome.find_element(By.CSS_SELECTOR, "#table thead th")

    chrome.execute_script("arguments[0].scrollTo(400, 200)", region)

    assert chrome.execute_script("return arguments[0].scrollLeft", region) == 400
    assert chrome.execute_script(offset, first, region) == [1, 1]


COLOURS = (
    "const style = (selector) => getComputedStyle(document.querySelector(selector));"
    "return [style('body').backgroundColor, style('#pd_progress svg').backgroundColor,"
    "style('#pd_progress .role-axis-label text').fill,"
    "style('#pd_progress .mark-line path').stroke]"
)


def rgb(colour: str) -> str:
    """Return a colour as a browser computes it."""
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.mark.parametrize("theme", THEMES)
def test_page_and_charts_follow_the_reader_s_choice_of_light_or_dark(chrome, page, theme):
    shown(chrome, page, dark=theme == "dark")

    chosen = THEMES[theme]
    expected = [chosen.paper, chosen.panel, chosen.ink, chosen.series[0]]
    assert chrome.execute_script(COLOURS) == [rgb(each) for each in expected]


def test_it_prints_light_on_sheets_with_no_chart_wider_than_the_sheet(chrome, page):
    shown(chrome, page, dark=True)

    document = printed(chrome)

    assert document.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type /Page\b", document))
    assert 4 <= pages <= 15
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    light = THEMES["light"]
    assert chrome.execute_script(COLOURS)[1:3] == [rgb(light.panel), rgb(light.ink)]
    widths = "return [...document.querySelectorAll('.chart svg')].map(each => each.clientWidth)"
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": SHEET, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    found = awaited(chrome, lambda: chrome.execute_script(widths))
    assert all(0 < each <= SHEET for each in found)
    assert len(found) == CHARTS

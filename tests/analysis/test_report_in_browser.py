"""The report in a real browser: no error, no request, sorting and filtering, both themes, two widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, DRIVER, Browser, driver
from results_factory import fill, make_failure, make_plan, make_record, make_spec

from lnlbench.cli import main
from lnlbench.errors import ExitCode

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)

CELLS = "#cells table.sortable"
ROWS = "[...document.querySelector('{table}').tBodies[0].rows].filter(row => !row.hidden)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    methods = ("ce", "gce", "elr", "unicon", "dividemix", "sce")
    specs = [
        make_spec(method, "lp", noise, seed)
        for method in methods
        for noise in ("symmetric-0.2", "symmetric-0.6", "asymmetric-0.4", "none")
        for seed in range(3)
    ]
    records = [
        make_failure(spec)
        if spec.method.name == "sce" and spec.noise.type == "none"
        else make_record(spec, 50.0 + 7 * methods.index(spec.method.name) + spec.seed, 40.0)
        for spec in specs
    ]
    fill(folder / "out", records, make_plan(specs))
    target = folder / "report.html"
    assert main(["report", "--out", str(folder / "out"), "--output", str(target)]) == ExitCode.OK
    return target


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with driver() as address:
        yield address


@pytest.fixture(scope="module")
def browser(root: str, page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    window = Browser(root, tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


def column(browser: Browser, at: int, table: str = CELLS) -> list[str]:
    found: list[str] = browser.run(
        f"return {ROWS.format(table=table)}.map(row => row.cells[{at}].textContent)"
    )
    return found


def click(browser: Browser, at: int) -> str | None:
    head = f"document.querySelector('{CELLS}').tHead.rows[0].cells[{at}]"
    order: str | None = browser.run(
        f"{head}.querySelector('button').click(); return {head}.getAttribute('aria-sort')"
    )
    return order


def test_no_error_and_no_request(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors() == []
    assert browser.requests(page) == [page.as_uri()]
    # The page's own rules forbid what it might be made to ask for.
    browser.run(
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image)"
    )
    assert any("Content Security Policy" in message for message in browser.errors())


def test_columns_sort_up_down_and_back(browser: Browser, page: Path) -> None:
    browser.open(page)
    original = column(browser, 2)
    assert click(browser, 2) == "ascending"
    numbers = [float(text.split()[0]) for text in column(browser, 2) if text != "–"]
    assert numbers == sorted(numbers)
    assert column(browser, 2)[-1] == "–"  # what is missing stays last
    assert click(browser, 2) == "descending"
    assert [float(text.split()[0]) for text in column(browser, 2) if text != "–"] == sorted(
        numbers, reverse=True
    )
    assert column(browser, 2)[-1] == "–"
    assert click(browser, 2) is None
    assert column(browser, 2) == original
    assert click(browser, 0) == "ascending"
    assert column(browser, 0) == sorted(column(browser, 0), key=str.lower)


def test_words_filter_rows(browser: Browser, page: Path) -> None:
    browser.open(page)
    told = browser.run(
        "const input = document.querySelector('#cells input'); input.value = 'gce symm.';"
        "input.dispatchEvent(new Event('input'));"
        "return document.querySelector('#cells output').textContent"
    )
    assert told == "2 of 24 rows"
    assert set(column(browser, 0)) == {"LP GCE"}


def test_headings_are_reached_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    focused = browser.run(
        f"const button = document.querySelector('{CELLS} th button'); button.focus();"
        "return document.activeElement === button && button.tabIndex === 0"
    )
    assert focused


def test_the_files_are_there_to_be_saved(browser: Browser, page: Path) -> None:
    browser.open(page)
    text = browser.run(
        "const link = document.querySelector('a[download=\"trials.csv\"]').href;"
        "return decodeURIComponent(link.slice(link.indexOf(',') + 1))"
    )
    assert len(text.splitlines()) == 1 + 72


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_page(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 400])
def test_no_text_runs_into_another_and_none_is_tiny(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    # Names of entrants can be long: those of plots are given one.
    texts = browser.run(
        "document.querySelectorAll('.small .name').forEach(name => {"
        "  name.textContent = 'Select, then tune, with the detector small_loss' });"
        "return [...document.querySelectorAll('svg text, .small .name')].map(text => {"
        "  const range = document.createRange(); range.selectNodeContents(text);"
        "  const box = (text.closest('svg') ? text : range).getBoundingClientRect();"
        "  return [text.textContent, box.left, box.top, box.right, box.bottom] })"
    )
    shown = [(text, *box) for text, *box in texts if box[2] > box[0]]
    assert len(shown) > 20
    for at, (text, left, top, right, bottom) in enumerate(shown):
        assert bottom - top >= 8, text
        for other, left_, top_, right_, bottom_ in shown[at + 1 :]:
            apart = min(right, right_) - max(left, left_) <= 2 or min(bottom, bottom_) - max(top, top_) <= 4
            assert apart, (text, other)


def test_hints_in_fields_can_be_read_in_the_dark(root: str, page: Path, tmp_path: Path) -> None:
    window = Browser(root, tmp_path / "profile", dark=True)
    try:
        window.open(page)
        colour = window.run(
            "return getComputedStyle(document.querySelector('#cells input'), '::placeholder').color"
        )
        assert colour == "rgb(167, 176, 189)"  # --muted: 8 : 1 on the page
    finally:
        window.close()


@pytest.mark.parametrize(("dark", "background"), [(False, "rgb(255, 255, 255)"), (True, "rgb(20, 23, 28)")])
def test_both_themes(root: str, page: Path, tmp_path: Path, dark: bool, background: str) -> None:
    window = Browser(root, tmp_path / "profile", dark=dark)
    try:
        window.open(page)
        assert window.run("return getComputedStyle(document.body).backgroundColor") == background
    finally:
        window.close()


def test_it_can_be_read_without_scripts(root: str, page: Path, tmp_path: Path) -> None:
    window = Browser(root, tmp_path / "profile", script=False)
    try:
        window.open(page)
        assert len(column(window, 0)) == 24
        assert window.run("return document.querySelectorAll('button, input').length") == 0
        assert window.errors() == []
    finally:
        window.close()

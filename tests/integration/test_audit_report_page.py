"""The audit's report in a real browser: on a phone, on a desk and on paper."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from intertwine.zk.audit import Verdict, verify_bundle
from intertwine.zk.audit.report_page import render
from tests.chromium import Chromium, program
from tests.recording import Federation

ROUNDS, PARTICIPANTS = 45, 10
# The lowest contrast of any text with what lies behind it (WCAG 2.2, 1.4.3), and the text.
CONTRAST = """
(() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const rgb = (s) => s.match(/[0-9.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, e = node.parentElement, style = getComputedStyle(e);
    if (!node.data.trim()) continue;
    const ink = rgb(e.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(e))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.data];
  }
  return worst;
})()
"""
SMALLEST_SVG_TEXT = """
Math.min(...[...document.querySelectorAll("svg text")].map(
  (e) => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))
"""


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """A pass on a run with many rounds and participants, made from a recorded one."""
    audited = verify_bundle(Federation().play().write(tmp_path_factory.mktemp("bundle")))
    assert audited.report is not None
    (run,) = audited.report.runs
    (first, _) = run.rounds
    slots = tuple(
        dataclasses.replace(first.slots[number % 3], participant=f"participant-{number}")
        for number in range(PARTICIPANTS)
    )
    rounds = tuple(dataclasses.replace(first, number=number + 1, slots=slots) for number in range(ROUNDS))
    report = dataclasses.replace(audited.report, runs=(dataclasses.replace(run, rounds=rounds),))
    return dataclasses.replace(audited, report=report)


@pytest.fixture(scope="module")
def page(verdict: Verdict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(render(verdict, "intertwine audit verify spring.bundle", 1_700_000_000))
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    path = program()
    if path is None:
        pytest.skip("no Chromium is installed")
    with Chromium(path, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_layout(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("[...document.querySelectorAll('table')].every((e) => e.rows.length > 1)")
    assert browser.value("document.querySelectorAll('table').length") >= 9
    pictures = "[...document.querySelectorAll('svg.chart')]"
    assert browser.value(f"{pictures}.length") == -(-ROUNDS // 20)
    assert browser.value(f"{pictures}.every((e) => e.getBoundingClientRect().height > 100)")
    assert browser.value(SMALLEST_SVG_TEXT) >= 8
    assert browser.complaints == []


def test_text_stands_out(browser: Chromium, page: Path) -> None:
    browser.open(page, 1280)
    ratio, text = browser.value(CONTRAST)
    assert ratio >= 4.5, text


def test_headings_are_in_order(browser: Chromium, page: Path) -> None:
    browser.open(page, 1280)
    levels = browser.value("[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert browser.value("document.title") == "Audit report: PASS, " + browser.value(
        "document.querySelector('#scope ~ dl').children[3].textContent"
    )


def test_on_paper(browser: Chromium, page: Path) -> None:
    """A4, with the annex that is folded up on a screen."""
    browser.open(page, 1280)
    pdf = browser.pdf()
    sizes = set(re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", pdf))
    assert [tuple(round(float(side)) for side in size) for size in sizes] == [(595, 842)]
    pages = len(re.findall(rb"/Type /Page\b", pdf))
    browser.value("document.querySelectorAll('details').forEach((e) => e.remove()); 0")
    assert pages > len(re.findall(rb"/Type /Page\b", browser.pdf())) + 5

"""The HTML page: whole in itself, safe against names, and alive in a real browser."""

from __future__ import annotations

import html
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from npubench.report.page.page import MOST_POINTS, to_page
from npubench.study.result import Comparison, RunResult, Sweep, SweepPoint
from tests.report.report_records import STAMP, TOTALS

NAMESPACES = "http://www.w3.org/"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--window-size=1000,1400",
)


def test_the_page_loads_nothing_and_is_small(
    run: RunResult, comparison: Comparison, sweep: Sweep
) -> None:
    page = to_page([run, comparison, sweep])
    places = set(re.findall(r"https?://[^\s\"'`)]+", page))
    assert {place for place in places if not place.startswith(NAMESPACES)} == set()
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(?!data:,)", page)
    assert len(page.encode()) < 400_000
    assert page == to_page([run, comparison, sweep])


def test_assumptions_and_sources_stand_on_it(run: RunResult) -> None:
    page = to_page([run])
    assert "weights stay in DRAM between inferences" in page
    assert "A paper, Table 2" in page


def test_a_name_from_a_file_stays_text(run: RunResult) -> None:
    name = "</script><script>alert(1)</script>&\x1b[2J"
    layers = (replace(run.layers[0], name=name), *run.layers[1:])
    page = to_page([replace(run, layers=layers)], title=name)
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_a_large_sweep_keeps_its_front_and_says_what_it_leaves_out() -> None:
    count = 10_000
    points = tuple(
        SweepPoint(
            {"clock": f"{i + 1} MHz"},
            "resnet50",
            "tpuv4i",
            "ok",
            replace(TOTALS, latency_s=1 / (i + 1), energy_j=float((i * 7919) % count + 1)),
        )
        for i in range(count)
    )
    axis = ("clock", tuple(point.axes["clock"] for point in points))
    page = to_page([Sweep((axis,), points, STAMP)])
    assert len(page.encode()) < 1_000_000
    data = json.loads(re.search(r'id="chart-data">(.*?)</script>', page, re.S)[1])  # type: ignore[index]  # no match fails the test as well
    front, lines = data
    shown = len(front["fields"][0]["values"])
    assert shown <= MOST_POINTS
    assert f"{shown:,} in all)" in page
    assert "9,600 more points are in JSON, CSV and --export." in page
    kept = {v for field in front["fields"] if field["key"] == "energy_j" for v in field["values"]}
    assert 1.0 in kept
    assert lines["joined"]


@pytest.fixture(scope="module")
def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("NPUBENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), "")
    if not found:
        pytest.skip("no Chromium: neither NPUBENCH_CHROMIUM nor the path has one")
    return found


# Works the page as a reader would, and writes down what it then shows.
PROBE = """<script>
addEventListener("load", () => {
  const pick = (css) => [...document.querySelectorAll(css)];
  const column = (table, i) => [...table.tBodies[0].rows].filter((r) => !r.hidden)
    .map((r) => r.cells[i].textContent);
  const found = {};
  found.pictures = pick("figure[data-chart]").map((f) => f.querySelector("svg") !== null);
  const table = pick("table").find((t) => t.tHead.textContent.includes("clock"));
  const button = table.tHead.rows[0].cells[1].querySelector("button");
  button.click(); found.rising = column(table, 1);
  button.click(); found.falling = column(table, 1);
  found.sorted = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
  const select = document.querySelector("figure[data-chart] select");
  const canvas = select.closest("figure").querySelector(".canvas"), before = canvas.innerHTML;
  select.value = "area_mm2"; select.dispatchEvent(new Event("change"));
  found.redrawn = before !== canvas.innerHTML;
  const filter = document.querySelector("input[type=search]");
  filter.value = "edge8"; filter.dispatchEvent(new Event("input"));
  found.filtered = column(filter.closest(".table").querySelector("table"), 1);
  const named = (e) => e.labels?.length || e.textContent;
  found.unlabelled = pick("select, input, button").filter((e) => !named(e)).length;
  document.body.replaceChildren(Object.assign(document.createElement("pre"),
    { id: "found", textContent: JSON.stringify(found) }));
});
</script>"""


def _browse(chromium: str, page: str, folder: Path, *more: str) -> tuple[str, str]:
    """What the browser's document is after loading a page, and what it said on the console."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", *more, file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_a_browser_shows_sorts_filters_and_redraws(
    chromium: str, tmp_path: Path, run: RunResult, comparison: Comparison, sweep: Sweep
) -> None:
    more = replace(comparison, runs=comparison.runs * 3)
    page = to_page([sweep, run, more]).replace("</body>", f"{PROBE}</body>")
    document, console = _browse(chromium, page, tmp_path, "--dump-dom")
    assert console == ""
    text = re.search(r'<pre id="found">(.*?)</pre>', document, re.S)
    assert text is not None
    found: Mapping[str, object] = json.loads(html.unescape(text[1]))
    assert found["pictures"] == [True] * 7
    assert found["rising"] == ["1.00", "2.00", "-"]
    assert found["falling"] == ["2.00", "1.00", "-"]
    assert found["sorted"] == "descending"
    assert found["redrawn"] is True
    assert found["filtered"] == ["edge8"] * 6
    assert found["unlabelled"] == 0


LINES = """<script>
addEventListener("load", () => {
  const figure = [...document.querySelectorAll("figure[data-chart]")].at(-1);
  const [across, , color] = figure.querySelectorAll("select");
  const moves = (path) => path.getAttribute("d").match(/[ML]/g).join("");
  const places = (path) => path.getAttribute("d").match(/[ML][^,]+/g).map((m) => +m.slice(1));
  const rising = (path) => places(path).every((x, i, all) => i === 0 || x >= all[i - 1]);
  const look = () => {
    const picture = figure.querySelector(".canvas > figure > svg, .canvas > svg");
    const lines = [...picture.querySelectorAll("g[aria-label=line] path")];
    return lines.map((p) => [moves(p), p.closest("g").getAttribute("stroke-dasharray"),
      p.getAttribute("stroke"), rising(p)]);
  };
  const pick = (select, value) => {
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  const found = {};
  pick(color, "precision"); found.byPrecision = look();
  found.named = [...new Set([...figure.querySelectorAll(".canvas g[aria-label=dot] path")]
    .map((p) => p.getAttribute("d") + p.getAttribute("stroke")))].length;
  pick(color, ""); found.uncoloured = look();
  pick(across, "latency_s"); found.acrossAFigure = look();
  pick(across, "precision"); found.acrossWords = look();
  document.body.replaceChildren(Object.assign(document.createElement("pre"),
    { id: "found", textContent: JSON.stringify(found) }));
});
</script>"""


def test_lines_follow_one_axis_and_ten_series_are_told_apart(chromium: str, tmp_path: Path) -> None:
    axes = {
        "precision": [f"w{n}a{n}" for n in range(1, 11)],
        "vdd": ["0.5", "0.6", "0.7"],
        "batch": ["1", "2"],
    }
    points = tuple(
        SweepPoint(
            dict(zip(axes, values, strict=True)),
            "resnet50",
            "edge8",
            "ok",
            replace(TOTALS, edp_js=1.0 + i, latency_s=1.0 + i * 7919 % 60),
        )
        for i, values in enumerate(itertools.product(*axes.values()))
    )
    grid = Sweep(tuple((name, tuple(values)) for name, values in axes.items()), points, STAMP)
    page = to_page([grid]).replace("</body>", f"{LINES}</body>")
    document, console = _browse(chromium, page, tmp_path, "--dump-dom")
    assert console == ""
    text = re.search(r'<pre id="found">(.*?)</pre>', document, re.S)
    assert text is not None
    found = json.loads(html.unescape(text[1]))
    # One line for each precision and batch, however they are coloured.
    for lines in (found["byPrecision"], found["uncoloured"], found["acrossAFigure"]):
        assert [moves for moves, _, _, _ in lines] == ["MLL"] * 20
    assert len({(dash, color) for _, dash, color, _ in found["byPrecision"]}) == 10
    assert found["named"] == 10
    assert len(found["acrossWords"]) == 2 * 3
    # Along an axis lines never turn back, words in the order of the sweep; over a figure they may.
    assert all(line[-1] for line in (*found["byPrecision"], *found["acrossWords"]))
    assert not all(line[-1] for line in found["acrossAFigure"])

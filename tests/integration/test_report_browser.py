"""The report in a real browser: it loads without errors, and its controls work."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_scale import build

from ssi_pipeline.report import write_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a run of 500 tiles in 2 channels and 10 planes."""
    return write_report(build(tmp_path_factory.mktemp("run"), 500))


def dom(page: Path, hash_part: str, profile: Path) -> str:
    """Return the page after its script ran in the browser, without messages on the console."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--dump-dom",
        f"{page.as_uri()}{hash_part}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return done.stdout


def of_map(text: str, name: str) -> str:
    canvas = re.search(r'<canvas id="explorer-map"[^>]*>', text)
    assert canvas is not None
    value = re.search(rf'{name}="([^"]*)"', canvas[0])
    return value[1] if value else ""


def test_it_opens_on_the_first_metric(page: Path, tmp_path: Path) -> None:
    text = dom(page, "", tmp_path)
    assert of_map(text, "data-metric") == re.search(r'id="explorer-metric"><option[^>]*>(\w+)<', text)[1]
    assert (of_map(text, "width"), of_map(text, "height")) == ("5", "5")
    assert "25 of 25 cells" in text


def test_the_address_selects_metric_and_plane(page: Path, tmp_path: Path) -> None:
    text = dom(page, "#metric=flux_ratio&z=3&c=1", tmp_path)
    assert [of_map(text, f"data-{name}") for name in ("metric", "t", "c", "z")] == ["flux_ratio", "0", "1", "3"]
    assert "sum of the estimate over sum of the measurement" in text[text.index('id="explorer-about"') :][:200].lower()
    assert re.search(r'id="explorer-out-z">3 \(0 to 9\)<', text)
    rows = text[text.index('id="explorer-worst"') :].split("</table>")[0]
    assert rows.count("#metric=flux_ratio") == 5


@pytest.mark.parametrize(
    "strange",
    ["#metric=nothing&z=99&c=-1", *(pytest.param(strange, marks=pytest.mark.long) for strange in ("#maps", "#z=x"))],
)
def test_an_address_that_means_nothing_is_no_error(page: Path, tmp_path: Path, strange: str) -> None:
    text = dom(page, strange, tmp_path)
    assert of_map(text, "data-metric")
    assert of_map(text, "data-z") == ("9" if "99" in strange else "0")


def test_the_selector_selects(page: Path, tmp_path: Path) -> None:
    """As a hand would: choose in the list, push the slider."""
    driven = tmp_path / "driven.html"
    hand = """<script>
    const list = document.getElementById("explorer-metric"), slider = document.getElementById("explorer-z");
    list.value = "seam"; list.dispatchEvent(new Event("change"));
    slider.value = 7; slider.dispatchEvent(new Event("input"));
    document.getElementById("explorer-map").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    document.title = location.hash;
    </script></body>"""
    driven.write_text(page.read_text().replace("</body>", hand))
    text = dom(driven, "", tmp_path / "profile")
    assert (of_map(text, "data-metric"), of_map(text, "data-z")) == ("seam", "7")
    assert re.search(r'id="explorer-said"[^>]*>y 0, x 1: (about|at least|at most) 0\.\d+<', text)
    assert "<title>#metric=seam&amp;t=0&amp;c=0&amp;z=7</title>" in text

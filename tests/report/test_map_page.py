"""The page and the pictures of a map: small, complete, and harmless whatever the names."""

from __future__ import annotations

import base64
import io
import json
import re
import runpy
import shutil
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from vitascope import report
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.evaluation.maps import files
from vitascope.report import map_page
from vitascope.report.charts import map_picture

FIXTURES = Path(__file__).parents[1] / "fixtures"
MADE = runpy.run_path(str(FIXTURES / "fake_map.py"))
FAKE = runpy.run_path(str(FIXTURES / "fake_run.py"))


def page_data(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="map-data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert found
    return dict(json.loads(found[1]))


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = MADE["fake_map"](tmp_path_factory.mktemp("maps") / "map")
    map_page.write(folder)
    return folder


def test_the_page_holds_the_points(made: Path) -> None:
    data = page_data(made / "map.html")
    record = files.read_record(made)
    points = files.read_points(made, record, record.pictures[0])
    assert unpacked(data["label"], "<u2").tolist() == points.labels.tolist()
    assert (
        zlib.decompress(base64.b64decode(data["ids"])).decode().split("\n")[7] == "日本語 \\u202eevil/video_000007.mp4"
    )
    assert unpacked(data["neighbors"]["tiny/one"], "<u2").reshape(-1, 5).tolist() == points.neighbors[:, :5].tolist()
    x, y = unpacked(data["maps"][0]["places"], "<u2").reshape(2, -1) / 65535
    shown = np.column_stack([x, y])
    scale = np.ptp(points.places, axis=0).max()
    gaps = np.linalg.norm(points.places[0] - points.places, axis=1) / scale
    np.testing.assert_allclose(np.linalg.norm(shown[0] - shown, axis=1), gaps, atol=2e-5)


def test_names_are_data_and_never_markup(made: Path) -> None:
    text = (made / "map.html").read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 2, "the data and the program"


def test_what_is_measured_stands_beside_the_pictures(made: Path) -> None:
    text = (made / "map.html").read_text(encoding="utf-8")
    for words in (
        "80.0 [75.0, 85.0]",
        "24.0 [20.0, 28.0]",
        "25.0, up to 27.0",
        "91.0",
        "held out 24.0\N{NO-BREAK SPACE}%",
    ):
        assert words in text
    assert "LDA draws the points it is fitted on" in text


def test_pictures_are_files_that_open(made: Path) -> None:
    svg = ElementTree.fromstring((made / "0-tsne.svg").read_text(encoding="utf-8"))
    uses = svg.findall("{http://www.w3.org/2000/svg}use")
    assert len(uses) == 300 + 4, "the points and the legend"
    with Image.open(made / "0-tsne.png") as image:
        assert image.size == tuple(2 * side for side in (map_picture.SIDE + map_picture.LEGEND, map_picture.SIDE + 36))
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20) or []}
    assert {(0, 104, 173), (204, 79, 0)} <= colors


def test_twenty_thousand_points_are_under_three_megabytes(tmp_path: Path) -> None:
    names = [f"Moving something number {i} up and down" for i in range(174)]
    folder = MADE["fake_map"](tmp_path / "map", n=20_000, classes=names, encoders=["a/b"], methods=["tsne"], pictures=0)
    record = files.read_record(folder)
    drawn = {p.stem: files.read_points(folder, record, p) for p in record.pictures}
    text = map_page._html(folder, record, drawn)
    assert len(text.encode()) < 600_000, "and at most 2 MB of thumbnails"


def test_markers_differ_up_to_84_classes() -> None:
    looks = [(i % 7, i % 6, i >= 42) for i in range(map_picture.LOOKS)]
    assert len(set(looks)) == map_picture.LOOKS == 84


def test_a_point_at_one_place_is_in_the_middle() -> None:
    np.testing.assert_array_equal(map_picture.in_unit_square(np.full((3, 2), 7.0)), np.full((3, 2), 0.5))


def test_the_report_of_a_run_shows_the_maps_in_it(tmp_path: Path) -> None:
    run = FAKE["fake_run"](tmp_path / "run", n=24, odd=False)
    MADE["fake_map"](run / "maps & more", classes=("up", "down"), n=40, methods=["tsne"])
    map_page.write(run / "maps & more")
    (run / "broken").mkdir()
    (run / "broken" / "map.json").write_text("{")
    written = report.write(run, formats=["html", "md", "tex"])
    text = written["html"].read_text(encoding="utf-8")
    assert 'href="maps%20%26%20more/map.html"' in text
    urls = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [Image.open(io.BytesIO(base64.b64decode(url))).size for url in urls] == [(860, 676)] * 2
    assert "Neighborhoods on made/" in text
    assert "Neighborhoods on made/" in written["md"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": 7}, "not the 7 points"),
        ({"k": "ten"}, "expected a whole number"),
        ({"classes": ["up"]}, "cannot be read"),
        ({"pictures": [{"encoder": "a", "method": "b", "title": "c", "stem": "../d", "measured": {}}]}, "purity"),
    ],
)
def test_files_that_do_not_fit_are_refused(made: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = tmp_path / "map"
    shutil.copytree(made, folder)
    record = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    (folder / "map.json").write_text(json.dumps({**record, "sprites": None, **change}), encoding="utf-8")
    with pytest.raises(DamagedFileError, match=said):
        map_page.write(folder)


def test_pictures_outside_the_folder_are_refused(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "map"
    shutil.copytree(made, folder)
    text = (folder / "map.json").read_text(encoding="utf-8")
    (folder / "map.json").write_text(text.replace('"stem": "0-tsne"', '"stem": "../0-tsne"'), encoding="utf-8")
    with pytest.raises(DamagedFileError, match="not as `vitascope map` writes it"):
        files.read_record(folder)
    files.remove_earlier(folder)
    assert (folder / "1-tsne.svg").exists(), "nothing is removed by such a file"


def test_a_folder_without_a_map(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no map there"):
        map_page.write(tmp_path)

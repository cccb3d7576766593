"""Grids against the arithmetic of ActionFormer's and the report's own code: the middle of row g is at which second?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.features.imports.time_grid import FeatureGrid, grid_from_fields, parse_grid

FRAMES = st.integers(1, 64)
RATES = st.sampled_from([15.0, 25.0, 29.97, 30.0])


@settings(deadline=None)
@given(FRAMES, FRAMES, RATES)
def test_the_middle_of_a_row_agrees_with_actionformer(window: int, stride: int, fps: float) -> None:
    """t = (g * stride + nframes / 2) / fps (PROTOCOLS 6.1)."""
    result = grid_from_fields({"fps": fps, "feat_stride": stride, "num_frames": window}, "x")
    assert result == parse_grid(f"{window}/{stride}@{fps:g}")
    for g, (start, end) in enumerate(result.spans(9, None, "x")):
        assert (start + end) / 2 == pytest.approx((g * stride + window / 2) / fps)
        assert end - start == pytest.approx(window / fps)


@settings(deadline=None)
@given(FRAMES, FRAMES, RATES)
def test_the_middle_of_a_row_agrees_with_opentad(offset: int, stride: int, fps: float) -> None:
    """t = (g * snippet_stride + offset_frames) / fps, whatever the window."""
    plain = grid_from_fields({"fps": fps, "snippet_stride": stride, "offset_frames": offset}, "x")
    wide = grid_from_fields({"fps": fps, "snippet_stride": stride, "offset_frames": offset, "window": 16}, "x")
    for result in (plain, wide):
        assert result is not None
        for g, (start, end) in enumerate(result.spans(5, None, "x")):
            assert (start + end) / 2 == pytest.approx((g * stride + offset) / fps)


def test_resized_features_cover_equal_parts_of_each_video() -> None:
    """stride' = D / M and t = (g + 0.5) stride' (PROTOCOLS 6.1, `force_upsampling`)."""
    for result in (parse_grid("resized"), grid_from_fields({"force_upsampling": True}, "x")):
        assert result is not None
        assert [(a + b) / 2 for a, b in result.spans(4, 10.0, "x")] == [1.25, 3.75, 6.25, 8.75]
        with pytest.raises(ValueError, match=r"v\.npy: resized features need the duration"):
            result.spans(4, None, "v.npy")


def test_seconds_and_nothing() -> None:
    assert (
        parse_grid(" 0.5/0.125 ")
        == grid_from_fields({"seconds": 0.5, "stride_seconds": 0.125}, "x")
        == FeatureGrid(0.5, 0.125)
    )
    assert grid_from_fields({"layout": "CxT", "note": "of I3D"}, "x") is None


def test_rows_that_contradict_a_duration() -> None:
    grid = parse_grid("0.5/0.125")
    assert grid.fits(267, 33.83)
    assert not grid.fits(134, 33.83), "twice the stride"
    assert not grid.fits(534, 33.83), "half of it"
    assert parse_grid("resized").fits(192, 5.0)


@pytest.mark.parametrize("text", ["", "0.5", "a/b", "16/4@", "-1/2", "0/1", "1/0", "16/4@0"])
def test_invalid_grids_are_rejected(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_grid(text)
    assert "window" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"fps": 30}, "f.json: stride and window missing; add them"),
        ({"fps": 30, "stride": 4}, "f.json: window missing"),
        ({"stride": 4, "window": 16}, "f.json: fps missing"),
        ({"fsp": 30}, "f.json: unknown field 'fsp'; did you mean 'fps'?"),
        ({"fps": "30", "stride": 4, "window": 16}, "f.json: fps must be a number above 0, not '30'"),
        ({"fps": 0, "stride": 4, "window": 16}, "f.json: fps must be a number above 0, not 0"),
        ({"fps": True, "stride": 4, "window": 16}, "f.json: fps must be a number above 0, not True"),
    ],
)
def test_wrong_metadata_is_rejected(about: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        grid_from_fields(about, "f.json")
    assert str(error.value).startswith(message)

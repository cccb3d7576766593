"""Tables of boxes with and without headers, label maps, and detections and frame labels of others: what is read."""

import numpy as np
import pytest

from vitascope.core.errors import UserError
from vitascope.datasets.readers.annotation_files import ClassOrder
from vitascope.datasets.readers.box_tables import read_boxes, read_frames
from vitascope.datasets.readers.label_map import ava_classes, read_label_map
from vitascope.datasets.readers.temporal_predictions import read_detections, read_frame_labels


def put(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_ava_rows_by_position(tmp_path):
    path = put(tmp_path, "a.csv", "b,0902,0.1,0.2,0.5,0.6,12,3\na,0903,0,0,1,1,80,1\na,0904\n")
    table = read_boxes(path, eighth="person")
    assert table.videos == ("b", "a")
    assert table.time.tolist() == [902.0, 903.0]
    assert table.labels == ("12", "80")
    assert table.person.tolist() == [0, 1]
    assert table.score is None
    assert (table.empty.video.tolist(), table.empty.time.tolist()) == ([1], [904.0])
    assert table.where(1) == f"{path}:2"
    assert read_boxes(path).score.tolist() == [3.0, 1.0]
    both = put(tmp_path, "b.csv", "b,902,0.1,0.2,0.5,0.6,12,p7,0.25\n")
    assert read_boxes(both).score.tolist() == [0.25]
    assert read_boxes(put(tmp_path, "c.csv", "b,902,0.1,0.2,0.5,0.6,12\n")).person is None


def test_a_header_names_columns_in_any_order(tmp_path):
    path = put(
        tmp_path, "a.csv", "Score;label;Video_ID;frame;xmin;ymin;xmax;ymax;note\n.5;run;v;3;1;2;3;4;x\n;;v;4;;;;;\n"
    )
    table = read_boxes(path)
    assert table.header
    assert table.box.tolist() == [[1, 2, 3, 4]]
    assert (table.labels, table.score.tolist(), table.empty.time.tolist()) == (("run",), [0.5], [4.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows; expected video, time"),
        ("a,1,0,0,1,1\n", ":1: 6 cells; expected video, time, x1"),
        ("a,1,0,0,1,1,2\na,1,0,0,1,1,2,0.5\n", ":1: 7 cells where other rows have 8"),
        ("a,1,0,0,1,x,2,0.5\n", ":1: y2 'x' is not a finite number"),
        ("a,1,0,0,1,1,2,nan\n", ":1: score 'nan' is not a finite number"),
        ("video,time,x1,y1,x2,label\n", ":1: no column 'y2'; its first row is video, time"),
        ("video,time,frame,x1,y1,x2,y2,label\n", ":1: two columns for time: 'time' and 'frame'"),
    ],
)
def test_rows_that_do_not_fit_are_one_line(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        read_boxes(put(tmp_path, "a.csv", text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_frames(tmp_path):
    names, frames = read_frames(put(tmp_path, "a.csv", "video_id,timestamp\nv,0902\nw,0903\n"))
    assert (names, frames.video.tolist(), frames.time.tolist()) == (("v", "w"), [0, 1], [902.0, 903.0])
    assert read_frames(put(tmp_path, "b.csv", ""))[0] == ()
    with pytest.raises(UserError, match=r"b.csv:1: 3 cells; expected two"):
        read_frames(put(tmp_path, "b.csv", "v,1,2\n"))


def test_label_maps(tmp_path):
    assert len(ava_classes()) == 60
    assert (ava_classes()[1], ava_classes()[80]) == ("bend/bow (at the waist)", "watch (a person)")
    text = 'item {\n  name: "say \\"hi\\""\n  id: 3\n}\nlabel { name: "b"\n label_id: 1\n label_type: X }\n'
    assert read_label_map(put(tmp_path, "a.pbtxt", text)) == {3: 'say "hi"', 1: "b"}
    assert read_label_map(put(tmp_path, "b.txt", "1: a, b\n3 c\n")) == {1: "a, b", 3: "c"}
    for text, message in (
        ("item { id: 3 }", ":1: a block without a name"),
        ('\nitem { name: "x" }', ":2: a block without an id"),
        ("1: a\n1: b\n", ":2: class 1 is listed twice"),
        ("", "no classes; expected blocks"),
        ("a b\n", ":1: 'a b' is not a number and a name"),
    ):
        with pytest.raises(UserError) as error:
            read_label_map(put(tmp_path, "c.txt", text))
        assert message in str(error.value)


ORDER = ClassOrder(("BaseballPitch", "Diving"))


def test_detections_as_json_and_lines(tmp_path):
    text = '{"version": "1", "results": {"v": [{"label": "Diving", "score": 0.5, "segment": [-1, 2.5]}], "w": []}}'
    found = read_detections(put(tmp_path, "a.json", text), ORDER)
    assert [(s.start, s.end, s.label, s.score) for s in found["v"]] == [(-1.0, 2.5, 1, 0.5)]
    assert found["w"] == []
    lines = "v 0 1 7 0.25\nv\t1\t2\tDiving\t.5\n"  # 7 is BaseballPitch among UCF101's classes, as in THUMOS14
    found = read_detections(put(tmp_path, "a.txt", lines), ORDER)
    assert [(s.label, s.score) for s in found["v"]] == [(0, 0.25), (1, 0.5)]
    for name, text, message in (
        ("b.json", "{}", "no videos"),
        ("b.json", '{"results": []}', "'results' is not an object"),
        ("b.json", '{"v": [{"label": "Divng", "score": 1, "segment": [0, 1]}]}', "did you mean 'Diving'?"),
        ("b.json", '{"v": [{"label": "Diving", "score": null, "segment": [0, 1]}]}', "score None is not a finite"),
        ("b.json", '{"v": [{"label": "Diving", "score": 1}]}', "expected 'label', 'score' and a 'segment'"),
        ("b.txt", "v 0 1 7\n", ":1: 4 cells; expected video"),
    ):
        with pytest.raises(UserError) as error:
            read_detections(put(tmp_path, name, text), ORDER)
        assert message in str(error.value)


def test_frame_labels(tmp_path):
    put(tmp_path, "v", "### Frame level recognition: ###\nDiving Diving BaseballPitch")
    put(tmp_path, "w.txt", "Diving\nDiving\n")
    found = read_frame_labels(tmp_path, ["v", "w", "x"], ORDER)
    assert {video: labels.tolist() for video, labels in found.items()} == {"v": [1, 1, 0], "w": [1, 1]}
    put(tmp_path, "x.txt", "Diving\nDivin\n")
    with pytest.raises(UserError, match="frame 1 has 'Divin', which is no class of the truth; did you mean 'Diving'"):
        read_frame_labels(tmp_path, ["x"], ORDER)
    with pytest.raises(UserError, match="no file of a video of the truth"):
        read_frame_labels(tmp_path, ["other"], ORDER)


def test_many_rows_are_read_alike(tmp_path):
    rng = np.random.default_rng(0)
    box, score = rng.random((500, 4)).round(3), rng.random(500)
    rows = [
        f"v{i % 7},{i % 11:04},{','.join(map(repr, b))},{i % 5},{s!r}"
        for i, (b, s) in enumerate(zip(box.tolist(), score.tolist(), strict=True))
    ]
    table = read_boxes(put(tmp_path, "a.csv", "\n".join(rows)))
    np.testing.assert_array_equal(table.box, box)
    np.testing.assert_array_equal(table.score, score)
    assert [table.videos[v] for v in table.video[:8]] == [f"v{i % 7}" for i in range(8)]

"""What a probe reads besides videos is part of the protocol by its bytes: another file is another result."""

from pathlib import Path

import pytest

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.evaluation.runner import EvaluationConfig, protocol_of
from vitascope.probes.options import probe

DATA = Dataset(
    name="a", examples=(Example(id="v", path="v", truth=0),), classes=("x",), folds=(Fold(name="f", train=(), test=()),)
)


@pytest.mark.parametrize("task", ["detect/roi+detections=", "localize/external+scores="])
def test_another_file_of_the_same_name_is_another_result(task: str, tmp_path: Path) -> None:
    file, found = tmp_path / "scores.csv", []
    for score in (0.9, 0.8, 0.9):
        file.write_text(f"v,1,0,0,1,1,{score}\n")
        found.append(protocol_of(DATA, probe(f"{task}{file}"), EvaluationConfig(run=tmp_path)))
    assert found[0] == found[2] != found[1]
    file.unlink()
    with pytest.raises(UserError, match=r"scores.csv: cannot be read \(No such file or directory\)"):
        protocol_of(DATA, probe(f"{task}{file}"), EvaluationConfig(run=tmp_path))

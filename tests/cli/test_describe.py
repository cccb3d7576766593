"""`vitascope describe NAME`: every option of one of each kind, and the nearest name of all kinds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import vitascope
from vitascope.cli.descriptions import described
from vitascope.core.errors import UnknownNameError
from vitascope.encoders.catalog import cards


def described_json(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(vitascope("describe", name, "--json").stdout)
    found["options"] = {option["name"]: option for option in found["options"]}
    return found


def test_a_probe_is_described_with_the_options_it_has() -> None:
    found = described_json("linear/paper+lr=0.3")
    assert (found["kind"], found["name"]) == ("probe", "linear/paper+lr=0.3")
    assert found["options"]["lr"] == {
        "name": "lr",
        "type": "number",
        "default": "0.3",
        "constraint": "positive",
        "meaning": "Peak learning rate; unused by `lbfgs`.",
    }
    assert {"train", "test", "both", "draws", "train.reduce"} <= found["options"].keys()
    assert not {"name", "version", "train.sampler"} & found["options"].keys()
    assert "linear/lbfgs" in found["variants"]
    assert "softmax" in found["text"]


def test_an_encoder_is_described_with_its_card_and_presets() -> None:
    found = described_json("umt/large-s2+frames=8=/nowhere.pth")
    assert (found["kind"], found["name"]) == ("encoder", "umt/large-s2+frames=8")
    assert (found["card"]["name"], found["card"]["frames"]) == ("umt/large-s2+frames:8", 8)
    options = found["options"]
    assert options.keys() == {"frames", "size", "precision", "view", "weights", "pool", "act", "paper", "native"}
    assert (options["size"]["default"], options["size"]["constraint"]) == ("224", "a multiple of 16")
    assert options["native"]["meaning"] == "Short for frames=4, view=authors."
    assert described_json("tiny/stills")["card"]["name"] == "tiny/stills"
    assert described_json("pixels/thumbnail")["options"] == {}


@pytest.mark.parametrize("name", cards())
def test_every_published_model_is_described(name: str) -> None:
    found = described(name)
    assert {"frames", "size", "precision", "weights", "pool", "paper"} <= {option.name for option in found.options}
    assert all(option.meaning for option in found.options)


@pytest.mark.parametrize(
    ("name", "crops"), [("views", "3"), ("Views:1x2", "1"), ("views+crops=2", "2"), ("views(crops=2)", "2")]
)
def test_a_sampler_is_described(name: str, crops: str) -> None:
    found = described_json(name)
    assert found["kind"] == "sampler"
    assert {key: option["default"] for key, option in found["options"].items()}["crops"] == crops
    assert found["options"]["stride"]["meaning"] == "Frames from one sampled frame of a window to the next."


def test_a_recipe_is_described_with_what_its_parts_take() -> None:
    options = described_json("motionlab_tiny_pixels")["options"]
    assert options["steps"]["default"] == "12000"
    assert options["clips"]["default"] == "32768"
    assert options["shape.depth"]["default"] == "6"
    assert options["targets.pixels.weight"]["constraint"] == "positive"
    large = described_json("twlv1_b")
    assert large["options"]["data"]["type"] == "text"
    assert large["options"]["batch"]["default"] == "2048"
    assert "k710" in large["text"]


def test_a_dataset_is_described_with_its_folder_and_variants() -> None:
    found = described_json("ssv2=/data/ssv2")
    assert (found["kind"], found["name"]) == ("dataset", "ssv2")
    assert "folder `root`" in found["text"]
    assert {"epic/noun", "epic/action"} <= described_json("epic/verb")["variants"].keys()
    family = described_json("epic")
    assert (family["kind"], family["options"]) == ("dataset family", {})
    assert "epic/verb" in family["variants"]


def test_people_get_a_table() -> None:
    shown = vitascope("describe", "knn").stdout
    assert shown.startswith("knn: ")
    assert "option" in shown
    assert "at least 1" in shown
    assert "knn/clip: " in shown
    shown = vitascope("describe", "umt/large-s2").stdout
    assert re.search(r"^params +303,100,928 *$", shown, re.MULTILINE)
    assert re.search(r"^mean +0.485, 0.456, 0.406 *$", shown, re.MULTILINE)
    assert "a multiple of 16" in shown


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("linaer", "linear"),
        ("umt/larg-s2", "umt/large-s2"),
        ("unifrm", "uniform"),
        ("motionlab_tiny_pixel", "motionlab_tiny_pixels"),
        ("ssv3", "ssv2"),
    ],
)
def test_an_unknown_name_gets_the_nearest_of_all_kinds(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{nearest}'"):
        described(name)
    done = vitascope("describe", name, code=2)
    assert done.stderr.startswith(f"error: no probe, encoder, sampler, recipe or dataset '{name}'")
    assert done.stderr.count("\n") == 1


def test_wrong_options_are_said_as_where_they_are_used() -> None:
    assert "no option 'lrr'; did you mean 'lr'" in vitascope("describe", "linear+lrr=1", code=2).stderr
    assert "did you mean 'frames'" in vitascope("describe", "umt/large-s2+frame=8", code=2).stderr


def test_what_is_no_network_is_described_without_torch() -> None:
    code = (
        "import sys\nfrom vitascope.cli.main import main\n"
        "for name in sys.argv[1:]:\n    sys.argv = ['vitascope', 'describe', name]\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n    assert 'torch' not in sys.modules, name"
    )
    names = ("umt/large-s2", "views", "ssv2", "nothing-like-it")
    done = subprocess.run([sys.executable, "-c", code, *names], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_an_encoder_in_a_folder_or_of_a_function_is_loaded_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=16
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    found = described_json(f"hf:{tmp_path}+view=report")
    assert (found["kind"], found["card"]["dim"], found["card"]["size"]) == ("encoder", 8, 32)
    assert found["options"]["view"]["type"] == "report | authors"
    assert found["options"]["view"]["default"] == "report"
    (tmp_path / "encoders_of_mine.py").write_text(
        "import vitascope\n\ndef small():\n    return vitascope.load('pixels/thumbnail')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert described_json("encoders_of_mine:small")["card"]["name"] == "pixels/thumbnail"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(("embed", "x", "--compile"), "vitascope embed"), (("embed",), "vitascope embed"), (("--foo",), "vitascope")],
)
def test_a_wrong_option_names_the_help_of_its_command(arguments: tuple[str, ...], command: str) -> None:
    assert vitascope(*arguments, code=2).stderr.endswith(f"; see `{command} -h`\n")

"""The demonstration: small encoders on the built-in benchmark, from rendering to report, with no download."""

from __future__ import annotations

from pathlib import Path

from vitascope import report
from vitascope.core.files import cache
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.extract import ExtractionOptions

SUITES = ("motionlab/appearance", "motionlab/motion", "motionlab/still")
OBJECTIVES = ("tiny/twlv1", "tiny/image", "tiny/video", "tiny/latent", "tiny/pixels")
FLOORS = ("pixels/thumbnail", "pixels/motion-energy")
ENCODERS = (*OBJECTIVES, *FLOORS)
PROBES = ("attentive", "linear", "knn")
GRIDS = 2 << 30
"""Bytes of disk that token grids may take."""


def run(output: Path, *, options: ExtractionOptions | None = None, limit: int = 0, store: Path | None = None) -> Path:
    """Evaluate `ENCODERS` on MotionLab with `PROBES` and write the report; its path.

    Costs a few minutes on two cores the first time (some 1900 clips and stills are rendered, decoded and encoded),
    seconds after that. Expect the mixture near the better of the others on both axes, the image teacher's pupil at
    chance on motion, and no floor above 40 %.
    """
    setting = EvaluationConfig(
        run=output, store=store or cache(), options=options or ExtractionOptions(), grids=GRIDS, limit=limit
    )
    for suite in SUITES:
        evaluate(suite, ENCODERS, PROBES, setting=setting)
    return report.write(output)["html"]

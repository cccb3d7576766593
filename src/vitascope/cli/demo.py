"""The demonstration: small encoders on the built-in benchmark, from rendered videos to the report, no downloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vitascope import report
from vitascope.core.files import cache
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.extraction_options import ExtractionOptions

SUITES = ("motionlab/appearance", "motionlab/motion", "motionlab/still")
OBJECTIVES = ("tiny/twlv1", "tiny/image", "tiny/video", "tiny/latent", "tiny/pixels")
BASELINES = ("pixels/thumbnail", "pixels/motion-energy")
ENCODERS = (*OBJECTIVES, *BASELINES)
PROBES = ("attentive", "linear", "knn")
ON_VIDEOS = ("i3d/k400", "efficientnet/lite0", "tiny/twlv1", "pixels/motion-energy", "pixels/thumbnail")
"""Encoders of the second page: two trained on real videos and images, and what they must be better than."""
VIDEO_PROBES = ("linear", "knn")
VIDEOS = "videos"
"""Folder of the second page in that of the first."""
GRID_CACHE_BYTES = 2 << 30
"""Disk space for cached token grids, bytes."""

CAVEATS = (
    "The tiny encoders are five recipes of equal steps, each as it was tuned: no controlled comparison of objectives. "
    "tiny/twlv1 had about 26 settings tried and 1.2 core-hours, the others few and 0.5 to 0.9; each is the best of "
    "three seeds, and the image teacher saw labels of the 24 looks that are tested. More: vitascope describe tiny/twlv1"
)
"""What the scores of the demonstration do not show."""


def run(
    output: Path,
    *,
    videos: Path | None = None,
    options: ExtractionOptions | None = None,
    limit: int = 0,
    store: Path | None = None,
) -> Path:
    """Evaluate `ENCODERS` on MotionLab with `PROBES`, write the report and return its path.

    The first time it takes a few minutes on two cores (some 1900 clips and images are rendered, decoded and encoded),
    then seconds. Expect the mixture near the better of the others on both axes, the student of the image teacher at
    chance on motion, the others at what frames without order tell of it (53 %), and no baseline above 50 %; see
    `CAVEATS`. With `videos`, a folder of class folders, `ON_VIDEOS` are evaluated there first, on a second page in
    `VIDEOS`, at about a second of one core for each video; UserError if the packages with their weights are absent.
    """
    setting = EvaluationConfig(
        run=output,
        store=store or cache(),
        options=options or ExtractionOptions(),
        grid_cache_bytes=GRID_CACHE_BYTES,
        limit=limit,
    )
    if videos is not None:
        evaluate(videos, ON_VIDEOS, VIDEO_PROBES, config=replace(setting, run=output / VIDEOS))
    for suite in SUITES:
        evaluate(suite, ENCODERS, PROBES, config=setting)
    if videos is None:
        return report.write(output)["html"]
    report.write(output / VIDEOS, pages={"The built-in benchmark": "../report.html"})
    return report.write(output, pages={"Real videos": f"{VIDEOS}/report.html"})["html"]

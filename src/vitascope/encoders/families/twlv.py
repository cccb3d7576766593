"""TWLV-I (Twelve Labs, 2024), of which the embeddings of its benchmarks were released but not the weights.

`base` and `large` are our architecture, since the report specifies only ViT-B and ViT-L, for weights of one's own
pretraining or from `vitascope convert`. `-published` variants are the released embeddings, without a network.
"""

from __future__ import annotations

from dataclasses import replace

from vitascope.encoders.spec import CARD_TEMPLATE, CheckpointLayout, Model, WeightSource
from vitascope.nn.configs.video_vit import VideoViTConfig

BASE = VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072)
SHAPES = {"base": BASE, "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096)}
OWN = CheckpointLayout(name="vitascope", mark=r"patch_embed\.proj\.weight$", containers=("",))
CARD = replace(
    CARD_TEMPLATE,
    pool="mean of the tokens after the final norm",
    sampling="as it was pretrained",
    trained="your own pretraining",
    license="yours",
)
VECTORS = replace(
    CARD,
    frames=0,
    size=0,
    pool="as published",
    sampling="as published",
    pretraining_datasets=frozenset({"k400", "k600", "k700"}),
    trained="K710, HowTo360K, WebVid10M, COCO, SBU, VG, CC3M, CC12M",
    license="see the release",
)


def _network(size: str) -> Model:
    return Model(
        about=f"ViT-{size[0].upper()}/16, tubelet 2, for weights of your own pretraining",
        card=replace(CARD, name=f"twlv/{size}"),
        shape=SHAPES[size],
        layouts=(OWN,),
        source=WeightSource(file="model.safetensors", page="your own pretraining"),
    )


def _published(size: str, more: str = "") -> Model:
    card = replace(VECTORS, name=f"twlv/{size}-published")
    if more:  # TWLV-I (+SSv2) in the report
        datasets, trained = VECTORS.pretraining_datasets | {more}, f"{VECTORS.trained}, SSv2"
        card = replace(card, name=f"twlv/{size}-{more}-published", pretraining_datasets=datasets, trained=trained)
    return Model(
        about=f"released embeddings of TWLV-I{' (+SSv2)' if more else ''} ViT-{size[0].upper()}, without a network",
        card=card,
        shape=SHAPES[size],
        layouts=(),
        source=WeightSource(file="", page="https://github.com/twelvelabs-io/video-embeddings-evaluation-framework"),
    )


MODELS = {size: _network(size) for size in SHAPES} | {f"{size}-published": _published(size) for size in SHAPES}
MODELS["large-ssv2-published"] = _published("large", "ssv2")

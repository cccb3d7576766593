"""Pinned commits of the hub repositories, so that a name always stands for the same weights."""

from __future__ import annotations

PINNED = {
    "MCG-NJU/videomae-base": "dc740ceda42fce44faed2ea03c6d447db72f6af9",
    "MCG-NJU/videomae-base-finetuned-kinetics": "488eb9a0565f257b32866000305c8178965eb9f6",
    "MCG-NJU/videomae-base-finetuned-ssv2": "873e7dfcd91479c8e10d75f7e402573dbdb6f98e",
    "MCG-NJU/videomae-huge-finetuned-kinetics": "fb1e058bba7d50fb2be1a6823721ec35d6740834",
    "MCG-NJU/videomae-large": "12da269a02d3e1fbbb7011e610e591fea8061dca",
    "OpenGVLab/VideoMAE2": "706cc172d65ebd4dedbee3f9c0183a93df9fa125",
    "apple/DFN5B-CLIP-ViT-H-14": "5c8f2637bc994346b98cc52a3f752b8abc632ca7",
    "apple/DFN5B-CLIP-ViT-H-14-378": "4563de306334a3bcc1fe0dd5041cf2f7be32d05e",
    "facebook/dinov2-base": "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    "facebook/dinov2-giant": "611a9d42f2335e0f921f1e313ad3c1b7178d206d",
    "facebook/dinov2-large": "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    "facebook/dinov2-small": "ed25f3a31f01632728cabb09d1542f84ab7b0056",
    "facebook/dinov3-vit7b16-pretrain-lvd1689m": "b80367753773648a6793235ab9c65cdbb029506f",
    "facebook/dinov3-vitb16-pretrain-lvd1689m": "5931719e67bbdb9737e363e781fb0c67687896bc",
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": "c807c9eeea853df70aec4069e6f56b28ddc82acc",
    "facebook/dinov3-vitl16-pretrain-lvd1689m": "ea8dc2863c51be0a264bab82070e3e8836b02d51",
    "facebook/dinov3-vits16-pretrain-lvd1689m": "114c1379950215c8b35dfcd4e90a5c251dde0d32",
    "facebook/dinov3-vits16plus-pretrain-lvd1689m": "c93d816fc9e567563bc068f01475bec89cc634a6",
    "facebook/vjepa2-vitg-fpc64-256": "875c192b7b704b87d1e1d99345769632dd5f739a",
    "facebook/vjepa2-vitg-fpc64-384": "12ca91694b230e0d4b5b0078af6f4ae1d51e933d",
    "facebook/vjepa2-vith-fpc64-256": "b5eac8703e3efdc1547fbb6ddfbeb133dc0bdee5",
    "facebook/vjepa2-vitl-fpc64-256": "b3c1679b7c34d3255ef3547f27c7b226aefab26f",
    "google/siglip2-base-patch16-224": "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
    "google/siglip2-base-patch16-256": "3f9f96cb90da5dbc758b01813f2f6f1aee24c1ab",
    "google/siglip2-base-patch16-384": "f775b65a79762255128c981547af89addcfe0f88",
    "google/siglip2-base-patch16-512": "a89f5c5093f902bf39d3cd4d81d2c09867f0724b",
    "google/siglip2-base-patch32-256": "94dffa8cb1179de3e03f091dbc3917e5d5a9ae84",
    "google/siglip2-giant-opt-patch16-256": "46d7129e1aa1527cc5a44d86fb35250df3abf0aa",
    "google/siglip2-giant-opt-patch16-384": "a713301b217d38485fb2204c808367d10bc3cc40",
    "google/siglip2-large-patch16-256": "787800c8990e6f058423089178e718139608408c",
    "google/siglip2-large-patch16-384": "1b426889ea62b5a72bf9839009a1b184bfc9c178",
    "google/siglip2-large-patch16-512": "49488218e80259885f3be61d7a9455faf833b7a8",
    "google/siglip2-so400m-patch14-224": "78e403963a4f6a3640d07803284752326fdf4edf",
    "google/siglip2-so400m-patch14-384": "e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
    "google/siglip2-so400m-patch16-256": "e8708ab72d125807e45b36fb7d4e0aacbb59f379",
    "google/siglip2-so400m-patch16-384": "dd658faac399427308559e2c3ac1e99cbe43845d",
    "google/siglip2-so400m-patch16-512": "ceea1cba8130d8271436da4828633198c176a775",
    "google/videoprism-base-f16r288": "2be2ef51d0d611d0fadf21a6d1470a4ad4af9249",
    "google/videoprism-large-f8r288": "2e20e540e1cb89e734e2f2477590b7f8197250ca",
    "google/videoprism-lvt-base-f16r288": "fb6de9f0eb7bc285be86bdca1cf7daa3e3ef51ff",
    "google/videoprism-lvt-large-f8r288": "03900b4ecc0b278b30abdc5953c575bb5f083865",
    "openai/clip-vit-base-patch16": "57c216476eefef5ab752ec549e440a49ae4ae5f3",
    "openai/clip-vit-large-patch14": "32bd64288804d66eefd0ccbe215aa642df71cc41",
}
"""Commit by repository, as pinned by the mteb project (August 2026); those of DFN, VideoMAE V2, huge-finetuned and
-ssv2 are from the pages of the hub.

The VideoPrism commits are from open pull requests that add PyTorch files to the npz files of the same repositories.
Repositories that are not listed are read at their newest commit.
"""

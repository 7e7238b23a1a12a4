"""What the GAN denoiser's paper compares: kinds of predictors, one or two of them, and what they are trained by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Variant:
    """What is trained, and by what it is judged.

    Attributes:
        content: Kind of the content predictor, or None.
        noise: Kind of the noise predictor, or None.
        loss: "lsgan", "l1" (without the adversarial part), "mse" (the paper's without it) or "wgan_vgg".
        noise_error: Whether the noise predictor's error counts beside the fused content's.
        widen: Factor on a U-Net's widths.
    """

    content: str | None = "unet"
    noise: str | None = "unet"
    loss: Literal["lsgan", "l1", "mse", "wgan_vgg"] = "lsgan"
    noise_error: bool = True
    widen: float = 1.0


VARIANTS = {
    "unet": Variant(),
    "dncnn": Variant("dncnn", "dncnn"),
    "srdensenet": Variant("srdensenet", "srdensenet"),
    "unet_dncnn": Variant("unet", "dncnn"),
    "srdensenet_dncnn": Variant("srdensenet", "dncnn"),
    "unet_content": Variant("unet", None),
    "unet_noise": Variant(None, "unet"),
    "unet_wide": Variant("unet", None, widen=2**0.5),
    "dncnn_content": Variant("dncnn", None),
    "srdensenet_content": Variant("srdensenet", None),
    "without_noise_l1": Variant(noise_error=False),
    "without_gan": Variant(loss="l1"),
    "mse": Variant(loss="mse"),
    "wgan_vgg": Variant("dncnn", None, loss="wgan_vgg", noise_error=False),
    "wgan_vgg_noise": Variant("dncnn", "dncnn", loss="wgan_vgg"),
}
"""The paper's predictors, mixed pairs ("U+D", "S+D") and ablations."""

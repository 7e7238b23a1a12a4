"""The GAN's ablation measures every variant alike and concludes no more than its figures bear."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("bm3d", reason="the benchmarks' peers (the extra `bench`) are not installed")
from gan_ablation import CLAIMS, TITLES, best_pair, costs, own_noise, own_noise_table
from light_training import Score, Trained, claims

from meddenoise import weights
from meddenoise.networks import Gan
from meddenoise.recipes import gan
from meddenoise.training.slices import Slice, SliceInfo, save_slices

TINY = {"sizes": {"unet": {"widths": (8, 8)}}, "light": True}


@pytest.fixture
def slices(tmp_path):
    """Held-back slices of MR and PET, a bright square on a ramp, and one of a training patient."""
    y, x = np.mgrid[0:1:64j, 0:1:64j]
    values = torch.from_numpy(0.3 + 0.4 * x + 0.2 * ((abs(x - 0.5) < 0.2) & (abs(y - 0.5) < 0.2))).float()
    kinds = (("VS-SEG-001", "MR", 1.0), ("VS-SEG-001", "PET", 10.0), ("a", "CT", 1.0))
    infos = [SliceInfo(f"{s}-{m}", s, m, False, 0.0, scale) for s, m, scale in kinds]
    save_slices([Slice(values * info.scale, info) for info in infos], tmp_path / "slices.safetensors")
    return tmp_path / "slices.safetensors"


def published(folder, network):
    """The weights of a network, as a recipe writes them."""
    weights.save(network, weights.Card("gan", "0", "gan", TINY, "", ["MR"], 1, 1.5), folder)
    return folder / "gan.safetensors"


def scores(**psnrs):
    """Scores of variants, from the PSNR of each patient."""
    return {
        name: [Score("MR", f"v{i}", f"p{i}", "Gaussian 25", 0, value, value / 100) for i, value in enumerate(values)]
        for name, values in psnrs.items()
    }


def test_every_variant_of_the_recipe_has_a_title_and_every_claim_its_variants():
    assert set(TITLES) == set(gan.VARIANTS)
    assert {name for _, *pair in CLAIMS for name in pair} <= set(TITLES)


def test_a_network_that_changes_nothing_leaves_all_noise_and_estimates_none(tmp_path, slices):
    found = own_noise(published(tmp_path, Gan(**TINY)), slices)
    assert found == {"MR": pytest.approx(1.0), "PET": pytest.approx(1.0), "estimate": pytest.approx(1.0)}
    assert "| U-Net | 1.000 | 1.000 | 1.000 |" in own_noise_table({"unet": found})


def test_the_estimate_is_judged_apart_from_the_image(tmp_path, slices):
    network = Gan(**TINY)
    torch.nn.init.normal_(network.noise.end[-1].weight, std=0.1)
    network.shares.data = torch.zeros(2)  # the image becomes its local mean, whatever the noise
    found = own_noise(published(tmp_path, network), slices)
    assert found["estimate"] > 0.2
    assert found["MR"] != pytest.approx(found["estimate"], rel=0.05)


@pytest.mark.parametrize(
    ("two", "one", "found"),
    [
        ((30, 31, 32), (29, 30.1, 31), "PSNR: holds"),
        ((29, 30, 31), (30, 31, 32.1), "PSNR: does not hold"),
        ((30, 31, 32), (31, 30, 32), "PSNR: not shown"),
    ],
)
def test_a_claim_holds_where_all_patients_bear_it(two, one, found):
    text, figures = claims(scores(noisy=(20, 20, 20), unet=two, unet_content=one), CLAIMS)
    assert [figure["claim"] for figure in figures] == [CLAIMS[0][0]]
    assert figures[0]["found"].startswith(found)
    assert f"{np.mean(np.subtract(two, one)):+.2f} (" in text


def test_the_picture_is_that_of_the_best_pair():
    assert best_pair(scores(noisy=(40,), unet=(30,), dncnn=(31,), unet_content=(32,))) == "dncnn"
    assert best_pair(scores(noisy=(40,), unet_content=(32,))) == "unet_content"


def test_costs_say_what_a_variant_is_and_took(tmp_path):
    one = Trained(published(tmp_path, Gan(**TINY)), 1234, 40, 9.6)
    assert "| U-Net without adversarial loss | 1,234 | 1.50 | 40 | 10 |" in costs({"without_gan": one})


def test_a_picture_of_real_slices_shows_all_parts(real_images, tmp_path):
    from gan_pictures import SIDE, picture
    from PIL import Image

    caption = picture(published(tmp_path, Gan(**TINY)), "Untrained", tmp_path / "parts.png")
    assert caption.startswith("![Untrained](parts.png)")
    with Image.open(tmp_path / "parts.png") as found:
        shown = np.asarray(found.convert("L")).astype(float)
    panels = [shown[14 : 14 + SIDE, k * (SIDE + 4) : k * (SIDE + 4) + SIDE] for k in range(6)]
    by_name = SimpleNamespace(
        **dict(zip(("clean", "noisy", "content", "noise", "fused", "taken"), panels, strict=True))
    )
    assert np.abs(by_name.noisy - by_name.fused).max() <= 8  # 64 grey levels
    assert by_name.noise.std() < 2 > by_name.taken.std()
    assert np.abs(by_name.clean - by_name.noisy).mean() > 10

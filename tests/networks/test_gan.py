"""The GAN denoiser's networks have the published sizes, start as the identity and treat patches and slices alike."""

import pytest
import torch
from torch import nn

from meddenoise.inference.slabs import HALO
from meddenoise.networks import Gan
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.networks.detail import coarse_and_detail
from meddenoise.networks.discriminator import PatchDiscriminator
from meddenoise.networks.gan import SHOWN_LEVEL, shown
from meddenoise.networks.predictors import PREDICTORS, SRDenseNet
from meddenoise.recipes.gan import LIGHT

TINY = {
    "unet": {"widths": (8, 8, 16)},
    "dncnn": {"width": 8, "depth": 4},
    "srdensenet": {"growth": 4, "blocks": 2, "convolutions": 2, "bottleneck": 8},
}
PAIRS = [("unet", "unet"), ("dncnn", "dncnn"), ("srdensenet", "srdensenet"), ("unet", "dncnn"), ("srdensenet", "dncnn")]
SINGLE = [("unet", None), (None, "unet")]


def disturbed(content="unet", noise="unet", *, light=True, sizes=TINY):
    """A network that does something: its zeros are drawn too."""
    torch.manual_seed(0)
    network = Gan(content=content, noise=noise, sizes=sizes, light=light)
    if network.noise is not None:
        nn.init.normal_(network.noise.end[-1].weight, std=0.1)
    if network.shares is not None:
        network.shares.data = torch.tensor([0.4, 0.7])
    return network.eval()


def inputs(rows=32, columns=48, *, batch=2):
    torch.manual_seed(1)
    image = torch.rand(batch, 1, rows, columns)
    return image, 0.05 + 0.1 * torch.rand_like(image)


def test_the_papers_u_nets_have_the_published_size_but_for_normalisations_that_are_never_used():
    with torch.device("meta"):  # sizes alone
        network, image = Gan(), torch.rand(1, 1, 256, 256)
    assert parameter_count(network) == 43_825_413 - 384
    assert parameter_count(network.content) == parameter_count(network.noise) == (43_825_413 - 384 - 3) // 2
    assert gmac(network, image, torch.full_like(image, 0.1)) == pytest.approx(72.59, abs=0.01)


def test_the_discriminator_has_the_published_parameters():
    assert parameter_count(PatchDiscriminator()) == 2_764_736


def test_each_verdict_of_the_discriminator_sees_70_by_70_pixels():
    judge = PatchDiscriminator(widths=(2, 2, 2, 2))
    only = nn.Sequential(*(m for m in judge.layers if not isinstance(m, nn.InstanceNorm2d)))  # these see everything
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    verdict = only(image)
    verdict[..., verdict.shape[-2] // 2, verdict.shape[-1] // 2].sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1)) > 0
    assert (int(seen.any(dim=1).sum()), int(seen.any(dim=0).sum())) == (70, 70)


def test_dncnn_has_17_convolutions_and_srdensenet_6_blocks_of_4():
    dncnn = PREDICTORS["dncnn"](inputs=1, outputs=1)
    assert parameter_count(dncnn) == 557_057 == 640 + 15 * (36_928 + 128) + 577
    dense = SRDenseNet(inputs=1, outputs=1)
    assert [len(block.layers) for block in dense.blocks] == [4] * 6
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d) for m in dense.modules())


@pytest.mark.parametrize("kind", PREDICTORS)
def test_the_light_form_costs_what_a_hospital_pc_can_bear(kind):
    with torch.device("meta"):
        network, image = Gan(content=kind, noise=kind, sizes=LIGHT, light=True), torch.rand(1, 1, 256, 256)
    assert 5.0 < gmac(network, image, torch.full_like(image, 0.1)) < 8.0


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize(("content", "noise"), [*PAIRS, (None, "unet"), (None, "dncnn")])
def test_a_fresh_network_is_the_identity(content, noise, light):
    network, (image, level) = Gan(content=content, noise=noise, sizes=TINY, light=light), inputs()
    estimated, clean = network.stages(image, level)
    assert torch.equal(clean, image)
    assert not estimated.any()


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_fresh_network_teaches_both_predictors_from_the_second_step_on(pair, light):
    network, (image, level) = Gan(content=pair[0], noise=pair[1], sizes=TINY, light=light), inputs()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        network(image, level).square().mean().backward()
        optimizer.step()
    assert all(p.grad.any() for p in (network.content.end[-1].weight, network.noise.end[-1].weight))


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize(("content", "noise"), [*PAIRS, *SINGLE])
def test_content_noise_and_image_come_back_in_the_images_shape_and_units(content, noise, light):
    network, (image, level) = disturbed(content, noise, light=light), inputs()
    predicted, estimated, clean = network.parts(image, level)
    assert predicted.shape == estimated.shape == clean.shape == image.shape
    assert all(torch.equal(a, b) for a, b in zip(network.stages(image, level), (estimated, clean), strict=True))
    assert torch.equal(network(image, level), clean)
    assert estimated.min() < 0 < estimated.max()
    _, tenfold_noise, tenfold = network.parts(image / 10, level / 10)
    assert tenfold_noise.abs().mean() < 0.5 * estimated.abs().mean()  # noise is estimated in proportion to the level
    assert (image / 10 - tenfold).abs().mean() < 0.5 * (image - clean).abs().mean()
    if content is None or noise is None:
        assert torch.allclose(clean, image - estimated, atol=1e-6)
        assert torch.equal(clean, predicted)


def test_the_image_is_fused_by_two_weights_and_a_constant():
    network, (image, level) = disturbed(), inputs()
    network.constant.data.fill_(0.3)
    content, noise, clean = network.parts(image, level)
    _, detail = coarse_and_detail(image, level)
    left = (image - clean) / level  # what is taken away, over the level
    expected = detail - (0.4 * (detail - (image - content) / level) + 0.7 * (detail - noise / level) + 0.3)
    assert torch.allclose(left, expected, atol=1e-4)


@pytest.mark.parametrize("kind", PREDICTORS)
def test_a_part_of_a_slice_is_denoised_as_within_the_whole(kind):
    sizes = {"unet": {"widths": (4, 4, 4, 4)}, "dncnn": {"width": 4}, "srdensenet": {"growth": 4, "convolutions": 2}}
    network, (image, level) = disturbed(kind, kind, sizes=sizes), inputs(64, 512, batch=1)
    part = slice(0, 64 + HALO)
    alone = network(image[..., part], level[..., part])
    assert torch.allclose(alone[..., :64], network(image, level)[..., :64], atol=1e-6)


def test_the_light_form_normalises_over_no_batch_and_the_papers_does():
    def kinds(light):
        return {type(m) for m in Gan(sizes=TINY, light=light).modules()}

    assert nn.BatchNorm2d in kinds(False)
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds(True))


@pytest.mark.parametrize(
    ("light", "widths", "factor"), [(True, (8,) * 4, 16), (True, (8,) * 2, 8), (False, (8,) * 5, 16)]
)
def test_the_factor_is_what_the_network_halves_by(light, widths, factor):
    network = Gan(sizes={"unet": {"widths": widths}}, light=light)
    image = torch.rand(1, 1, factor, 3 * factor)
    assert network.factor == factor
    assert network.eval()(image, torch.full_like(image, 0.1)).shape == image.shape


def test_the_discriminator_is_shown_content_and_noise_that_make_up_the_noisy_image():
    image, level = inputs()
    clean = image - level * torch.randn_like(image)
    content, noise, noisy = shown(clean, image - clean, image, level).unbind(dim=1)
    assert torch.allclose(content + noise, noisy, atol=1e-5)
    assert noise.std() == pytest.approx(SHOWN_LEVEL, rel=0.05)
    assert noisy.min() > -1.0
    assert noisy.max() < 2.0


@pytest.mark.parametrize("light", [True, False])
def test_bfloat16_moves_the_result_by_little_of_the_noise(light):
    network, (image, level) = disturbed(light=light), inputs(64, 64, batch=1)
    network = network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = network(image, level)
        with torch.autocast("cpu", torch.bfloat16):
            quick = network(image, level)
    assert quick.dtype == torch.float32
    assert (exact - image).std() > 0.01
    assert (quick - exact).std() < 0.02 * (exact - image).std()

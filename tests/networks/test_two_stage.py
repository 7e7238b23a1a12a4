"""The two-stage network has the paper's size and cost, starts as the identity and keeps its stages apart."""

import pytest
import torch

from meddenoise.networks import TwoStage
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.networks.two_stage import DenseBlock, NoiseAttention

TINY = {"width": 8, "growth": 4, "blocks": 1}


def disturbed(**arguments):
    """A network that does something: its zeros are drawn too."""
    torch.manual_seed(0)
    network = TwoStage(**arguments)
    for stage in filter(None, (network.nen, network.rn)):
        torch.nn.init.normal_(stage.trunk[-1].weight, std=0.2)
    return network.eval()


def inputs(rows=32, columns=48, *, batch=2):
    """Images and levels of 3 channels."""
    torch.manual_seed(1)
    image = torch.rand(batch, 3, rows, columns)
    return image, 0.05 + 0.1 * torch.rand_like(image)


def test_each_stage_has_the_parameters_of_table_vii():
    network = TwoStage()
    assert parameter_count(network.nen) == 283_776
    assert parameter_count(network.rn) == 302_466
    assert parameter_count(network) == 586_242


def test_each_stage_has_the_multiply_accumulates_of_table_vii():
    network, image = TwoStage(), torch.rand(1, 3, 256, 256)
    assert round(gmac(network.nen, image), 2) == 18.56
    assert round(gmac(network.rn, image, image), 2) == 19.78
    assert round(gmac(network, image, torch.full_like(image, 0.1)), 2) == 38.34


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [("noise_only", 283_776), ("without_attention", 567_648), ("attention_alone", 586_242), ("full", 586_242)],
)
def test_every_variant_of_the_ablation_starts_as_the_identity(variant, parameters):
    network, (image, level) = TwoStage(variant=variant), inputs()
    noise, clean = network.stages(image, level)
    assert parameter_count(network) == parameters
    assert torch.equal(clean, image)
    assert not noise.any()


@pytest.mark.parametrize("variant", ["noise_only", "without_attention", "attention_alone", "full"])
def test_noise_and_image_come_back_in_the_images_shape_and_units(variant):
    network, (image, level) = disturbed(**TINY, variant=variant), inputs()
    noise, clean = network.stages(image, level)
    assert noise.shape == clean.shape == image.shape
    assert torch.equal(clean, network(image, level))
    assert noise.min() < 0 < noise.max()
    tenfold_noise, tenfold = network.stages(image / 10, level / 10)
    if variant == "noise_only":
        assert torch.allclose(clean, image - noise)
    else:
        assert not torch.allclose(clean, image - noise, atol=1e-3)
    assert tenfold_noise.abs().mean() < 0.5 * noise.abs().mean()  # noise is estimated in proportion to the level
    assert (image / 10 - tenfold).abs().mean() < 0.5 * (image - clean).abs().mean()


def test_the_second_stages_loss_does_not_train_the_first():
    network, (image, level) = disturbed(**TINY), inputs()
    noise, clean = network.stages(image, level)
    clean.abs().mean().backward()
    assert all(p.grad is None for p in network.nen.parameters())
    assert all(p.grad is not None for p in network.rn.parameters())
    noise.square().mean().backward()
    assert all(p.grad is not None for p in network.nen.parameters())


def test_attention_weighs_the_noisy_images_features_pixel_by_pixel():
    torch.manual_seed(0)
    block = NoiseAttention(width=8)
    image, noise = torch.rand(1, 8, 16, 16) + 0.1, torch.rand(1, 8, 16, 16)
    weight = block(image, noise) / image
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), atol=1e-5)  # one weight for all channels
    assert 0 < weight.min() < weight.max() < 1
    assert not torch.allclose(block(image, -noise), block(image, noise))


@pytest.mark.parametrize(("variant", "sees"), [("full", True), ("attention_alone", False)])
def test_the_second_stage_sees_the_noise_itself_beside_the_weights(variant, sees):
    stage = disturbed(**TINY, variant=variant).rn
    torch.nn.init.zeros_(stage.attention.spatial.weight)  # every weight is a half
    image, noise = torch.rand(2, 1, 3, 16, 16)
    corrections = [stage(image, n) - (image - n) for n in (noise, 2 * noise)]
    assert torch.allclose(*corrections, atol=1e-5) is not sees


def test_a_dense_block_adds_a_fifth_of_what_it_finds():
    block = DenseBlock(width=8, growth=4)
    torch.nn.init.zeros_(block.layers[-1].weight)
    torch.nn.init.constant_(block.layers[-1].bias, -1.0)
    x = torch.rand(1, 8, 6, 6)
    assert torch.allclose(block(x), x + 0.2 * 0.2 * -1.0)


def test_bfloat16_and_channels_last_move_the_result_by_little_of_the_noise():
    network, (image, level) = disturbed(), inputs(64, 64, batch=1)
    network = network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = network(image, level)
        with torch.autocast("cpu", torch.bfloat16):
            quick = network(image, level)
    assert quick.dtype == torch.float32
    assert (exact - image).std() > 0.01
    assert (quick - exact).std() < 0.02 * (exact - image).std()

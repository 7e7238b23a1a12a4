"""The teacher starts as the identity or as the student it was widened from, and costs ten times as much."""

import pytest
import torch
from torch import nn

from meddenoise import Denoiser, weights
from meddenoise.networks import Student, Teacher
from meddenoise.networks.branches import branched
from meddenoise.networks.cost import gmac
from meddenoise.networks.student import ResidualBlock
from meddenoise.weights import Card

SMALL = {"widths": (8, 12, 16), "blocks": (1, 2, 2), "heads": (2, 3, 4)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(side=48, batch=1):
    image = 0.5 + 0.1 * torch.randn((batch, 1, side, side), generator=generator())
    return image, 0.05 + 0.1 * torch.rand(image.shape, generator=generator(1))


def student(**sizes):
    torch.manual_seed(0)
    network = Student(**({"widths": (6, 8, 12), "blocks": (1, 1, 2)} | sizes))
    nn.init.normal_(network.tail.weight, std=0.3)
    return network


def disturbed(teacher):
    """Let context and attention do something, as after training."""
    for stage in teacher.trunk.stages_in_order:
        nn.init.normal_(stage[-1].project.weight, std=0.1)
        nn.init.normal_(stage[-2].project.weight, std=0.1)
    return teacher


def outputs_first(convolution, weight):
    return weight.transpose(0, 1) if isinstance(convolution, nn.ConvTranspose2d) else weight


def test_a_fresh_teacher_gives_its_input_back():
    image, level = inputs(batch=2)
    assert torch.equal(Teacher(**SMALL)(image, level), image)


@pytest.mark.parametrize("inner", [None, (3, 8, 5, 12, 7, 6), (7, 8, 14, 16, 11, 8)])
def test_a_widened_teacher_computes_what_the_student_does_at_every_anchor(inner):
    small, (image, level) = student(inner=inner), inputs()
    expected, features = small.anchors(image, level)
    teacher = Teacher.widened_from(small, **SMALL)
    found, wider = teacher.anchors(image, level)
    assert (expected - image).abs().max() > 0.01
    assert (found - expected).abs().max() < 1e-5 * (expected - image).abs().max()
    for ours, theirs in zip(wider, features, strict=True):
        assert torch.allclose(ours[:, : theirs.shape[1]], theirs, atol=1e-5)
        assert ours[:, theirs.shape[1] :].std() > 0.01  # the new channels have something to say


def test_a_teacher_widened_from_the_published_student_computes_what_it_does():
    published, (image, level) = weights.load("student")[0], inputs(64)
    with torch.no_grad():
        expected, found = published(image, level), Teacher.widened_from(published)(image, level)
    assert (found - expected).abs().max() < 1e-5 * (expected - image).abs().max()


def test_new_channels_and_blocks_learn_from_the_first_step():
    small, (image, level) = student(), inputs()
    teacher = Teacher.widened_from(small, **SMALL)
    teacher(image, level).square().mean().backward()
    old = dict(small.named_modules())
    for name, module in teacher.trunk.named_modules():
        if name in old and name != "head" and isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            gradient = outputs_first(module, module.weight.grad)
            outputs, known = outputs_first(old[name], old[name].weight).shape[:2]
            assert gradient[:outputs, known:].any(), name  # what old channels take from new ones
        elif name not in old and name.endswith("project"):
            assert module.weight.grad.any(), name  # what new blocks add
    torch.optim.SGD(teacher.parameters(), lr=0.1).step()
    teacher.zero_grad()
    teacher(image, level).square().mean().backward()
    assert all(parameter.grad.any() for parameter in teacher.parameters())


def test_the_student_is_not_changed_by_widening_and_the_teacher_shares_no_memory_with_it():
    small, (image, level) = student(), inputs()
    before = small(image, level)
    teacher = Teacher.widened_from(small, **SMALL)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(1.0)
    assert torch.equal(small(image, level), before)


@pytest.mark.parametrize(
    ("larger", "named"),
    [
        (lambda: student(widths=(6, 8, 20)), "bottom.0.expand.weight"),
        (lambda: student(blocks=(2, 1, 2)), "down_1.1.expand.weight"),
        (lambda: student(inner=(6, 8, 12, 12, 8, 9)), "up_1.0.expand.weight"),
        (lambda: branched(student(), generator=generator()), "head.parallel"),
    ],
)
def test_a_student_that_does_not_fit_into_the_teacher_is_refused(larger, named):
    with pytest.raises(ValueError, match=f"smaller plain student; {named}"):
        Teacher.widened_from(larger(), **SMALL)


def test_the_students_arithmetic_is_at_most_a_tenth_of_the_teachers():
    image, level = inputs(256)
    teacher, published = gmac(Teacher(), image, level), gmac(weights.load("student")[0], image, level)
    assert 45 < teacher < 60
    assert published <= teacher / 10


def test_the_denoiser_cuts_slices_at_the_teachers_fixed_tile():
    card = Card("tiny", "1.0.0", "teacher", {}, "", ["CT"], 1, 1.0)
    slab = Denoiser(Teacher(**SMALL), card, device="cpu").slab
    assert slab.tile == Teacher.tile == 512
    one_by_one = slab.smaller(600, 600) or slab
    assert one_by_one.tile == 512  # a smaller one would see less, and give another result
    assert one_by_one.smaller(600, 600) is None


def test_each_stage_ends_in_context_and_attention():
    for stage in Teacher(**SMALL).trunk.stages_in_order:
        kinds = [type(part).__name__ for part in stage]
        assert kinds[-2:] == ["NoiseContextBlock", "ADWC"]
        assert all(isinstance(part, ResidualBlock) for part in stage[:-2])


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 1, 16, 40)])
def test_the_smallest_images_are_denoised_too(shape):
    image = torch.rand(shape, generator=generator())
    found = disturbed(Teacher.widened_from(student(), **SMALL))(image, torch.full_like(image, 0.1))
    assert found.shape == image.shape
    assert found.isfinite().all()
    assert not torch.equal(found, image)


def test_images_of_one_batch_do_not_see_one_another():
    teacher, (image, level) = disturbed(Teacher.widened_from(student(), **SMALL)), inputs(batch=2)
    assert torch.allclose(teacher(image, level)[1:], teacher(image[1:], level[1:]), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_traced_teacher_computes_the_same_for_images_of_another_number_and_size():
    teacher = disturbed(Teacher.widened_from(student(), **SMALL)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(teacher, inputs(32, batch=2), check_trace=False)
        image, level = inputs(48, batch=3)
        assert torch.allclose(traced(image, level), teacher(image, level), atol=1e-5)


def test_bfloat16_and_channels_last_move_the_result_by_little_of_the_noise():
    teacher, (image, level) = disturbed(Teacher.widened_from(student(), **SMALL)), inputs(64)
    with torch.inference_mode():
        exact = teacher(image, level)
        quick_teacher = teacher.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            quick = quick_teacher(image, level)
    assert quick.dtype == torch.float32
    assert (exact - image).std() > 0.001
    assert (quick - exact).std() < 0.02 * (exact - image).std()

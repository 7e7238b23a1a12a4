"""Training data is split by patient, and a seed gives the same batches of it; see tests/training for the rest."""

import numpy as np
import pytest
import torch

from meddenoise.training.patches import Mix, sampler
from meddenoise.training.slices import Slice, SliceInfo, is_validation, load_slices, save_slices

TINY = Mix(size=32)


def slices() -> list[Slice]:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    body = np.where(x**2 + y**2 < 0.7, 1.0, 0.0) * (0.5 + 0.3 * np.sin(6 * x))
    found = []
    for subject in ("a", "b", "VS-SEG-001"):
        for modality, offset, scale in (
            ("CT", -1024.0, 4095.0),
            ("MR", 0.0, 1.0),
            ("PET", 0.0, 10.0),
            ("XR", 0.0, 255.0),
        ):
            values = torch.from_numpy(body * 0.4 * scale + offset).float()
            found.append(
                Slice(values, SliceInfo(f"{subject}-{modality}", subject, modality, modality == "XR", offset, scale))
            )
    return found


def test_split_is_by_subject_and_fixed():
    assert is_validation("VS-SEG-001")
    assert not is_validation("a")
    share = np.mean([is_validation(f"patient {i}") for i in range(4000)])
    assert share == pytest.approx(0.15, abs=0.02)


def test_a_subject_is_never_on_both_sides(tmp_path):
    save_slices(slices(), tmp_path / "s.safetensors")
    sides = [{s.info.subject for s in load_slices(tmp_path / "s.safetensors", validation=v)} for v in (False, True)]
    assert sides == [{"a", "b"}, {"VS-SEG-001"}]


def test_same_seed_gives_the_same_batches_and_they_are_finite():
    sample = sampler(slices(), TINY)
    first, second, other = (sample(8, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])
    for images in first:
        assert images.shape == (8, 1, 32, 32)
        assert images.isfinite().all()
    assert not torch.equal(*first)


def test_left_out_volumes_never_show_up():
    loud = slices()
    loud.append(Slice(torch.full((64, 64), 2000.0), SliceInfo("loud", "c", "CT", False, -1024.0, 4095.0)))
    largest = []
    for left_out in ((), ("loud",)):
        sample = sampler(loud, Mix(size=32, left_out=left_out))
        generator = torch.Generator().manual_seed(0)
        largest.append(max(float(sample(8, generator)[1][4:].max()) for _ in range(20)))
    assert largest[0] > 0.7 > largest[1]


def test_small_slices_are_mirrored_to_the_patch_size():
    small = [Slice(torch.rand(9, 14), SliceInfo("v", "s", "PET", False, 0.0, 1.0))]
    noisy, clean = sampler(small, Mix(size=48))(4, torch.Generator().manual_seed(0))
    assert noisy.shape == clean.shape == (4, 1, 48, 48)


@pytest.mark.parametrize(("batch", "display"), [(1, 0.375), (4, 0.0), (4, 1.0)])
def test_a_batch_may_hold_one_kind_of_patch_alone(batch, display):
    noisy, clean = sampler(slices(), Mix(size=32, display=display))(batch, torch.Generator().manual_seed(0))
    assert noisy.shape == clean.shape == (batch, 1, 32, 32)
    assert not torch.equal(noisy, clean)


def test_display_images_alone_follow_algorithm_1():
    shown = [Slice(torch.full((40, 40), 128.0), SliceInfo("v", "s", "MR", True, 0.0, 255.0))]
    noisy, clean = sampler(shown, TINY)(8, torch.Generator().manual_seed(0))
    assert noisy.shape == (8, 1, 32, 32)
    assert torch.equal((255.0 * clean).round(), torch.full_like(clean, 128.0))

"""Training data is known by its layout, split by subject, and refused by name where it does not fit together."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
import torch

from meddenoise.errors import InputError, OptionError
from meddenoise.training.data import PAIRS, SLICES, open_data
from meddenoise.training.pairs import build_pairs, find_entries, load_pairs, pair_sampler
from meddenoise.training.patches import Mix
from meddenoise.training.slices import save_slices

HELD_BACK = "VS-SEG-001"


def write(path, *, seed=0, shape=(3, 40, 48), origin=(0.0, 0.0, 0.0), blur=False):
    """A ramp of one a column, and noise of 40 on it where there is a seed."""
    values = np.broadcast_to(np.arange(shape[-1], dtype=float), shape).copy()
    if seed:
        noise = np.random.default_rng(seed).normal(size=shape)
        noise = noise + np.roll(noise, 1, axis=-1) + np.roll(noise, 1, axis=-2) if blur else noise
        values += 40.0 * noise
    image = SimpleITK.GetImageFromArray(values.round().astype(np.int16))
    image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, path)


def pairs(folder, names=("a", "b", HELD_BACK)):
    for i, name in enumerate(names, 1):
        write(folder / "noisy" / f"{name}.nii.gz", seed=i)
        write(folder / "clean" / f"{name}.nrrd")
    return folder


def opened(folder, out, lines=None):
    out.mkdir(exist_ok=True)
    return open_data(folder, out, Mix(size=32), report=(lines if lines is not None else []).append)


def batch(sample, size=16):
    return sample(size, torch.Generator().manual_seed(0))


def test_two_folders_are_pairs_at_the_same_place(tmp_path):
    data = opened(pairs(tmp_path / "site"), tmp_path / "out")
    assert data.kind == "paired"
    assert {info.subject for info in data.used} == {"a", "b"}
    for sample in (data.train, data.validation):
        noisy, clean = batch(sample)
        assert noisy.shape == clean.shape == (16, 1, 32, 32)
        info = data.used[0]
        assert (noisy - clean).std() * info.scale == pytest.approx(40.0, rel=0.1)
        assert min(clean[0, 0].diff(dim=axis).abs().max() for axis in (0, 1)) == 0  # a ramp, however it is turned


def test_the_images_are_not_needed_again_once_read(tmp_path):
    first = opened(pairs(tmp_path / "site"), tmp_path / "out")
    second = opened(None, tmp_path / "out")
    assert torch.equal(batch(first.train)[0], batch(second.train)[0])


def test_a_table_names_subjects_so_that_scans_of_one_stay_together(tmp_path):
    pairs(tmp_path)
    table = (
        f"subject,noisy,clean,modality\np1,noisy/a.nii.gz,clean/a.nrrd,CT\n{HELD_BACK},noisy/b.nii.gz,clean/b.nrrd,\n"
    )
    (tmp_path / "pairs.csv").write_text(table, encoding="utf-8-sig")
    assert [entry.subject for entry in find_entries(tmp_path)] == ["p1", HELD_BACK]
    assert {info.subject for info in opened(tmp_path, tmp_path / "out").used} == {"p1"}


def test_noisy_images_alone_stand_for_both(tmp_path):
    for i, name in enumerate("ab", 1):
        write(tmp_path / "site" / "noisy" / f"{name}.nii.gz", seed=i)
    lines = []
    data = opened(tmp_path / "site", tmp_path / "out", lines)
    assert data.kind == "noisy"
    assert data.validation is None
    assert torch.equal(*batch(data.train))
    assert not [line for line in lines if "warning" in line]


def test_correlated_noise_without_clean_images_is_warned_of(tmp_path):
    for i, name in enumerate("ab", 1):
        write(tmp_path / "site" / "noisy" / f"{name}.nii.gz", seed=i, blur=True)
    lines = []
    opened(tmp_path / "site", tmp_path / "out", lines)
    assert "correlated" in lines[-1]
    assert lines[-1].startswith("warning: ")


def test_clean_slices_get_their_noise_made(tmp_path, slices):
    save_slices(slices, tmp_path / SLICES)
    data = opened(None, tmp_path)
    assert data.kind == "clean"
    assert data.facts()["slices"] == 8
    assert "VS-SEG" not in str(data.facts())
    noisy, clean = batch(data.validation)
    assert not torch.equal(noisy, clean)


def test_data_of_held_back_subjects_alone_is_refused(tmp_path, slices):
    save_slices([replace(s, info=replace(s.info, subject=HELD_BACK)) for s in slices], tmp_path / SLICES)
    with pytest.raises(InputError, match="all subjects are held back"):
        opened(None, tmp_path)


def test_no_data_is_told_with_the_way_out(tmp_path):
    with pytest.raises(OptionError, match="say --data DIR or set MEDDENOISE_DATA"):
        opened(None, tmp_path)


def spoil_size(folder):
    write(folder / "clean" / "b.nrrd", shape=(3, 40, 40))


def spoil_place(folder):
    write(folder / "clean" / "b.nrrd", origin=(5.0, 0.0, 0.0))


def spoil_partner(folder):
    (folder / "clean" / "b.nrrd").unlink()


def spoil_name(folder):
    write(folder / "noisy" / "b.nrrd")


def spoil_columns(folder):
    (folder / "pairs.csv").write_text("low,full\na,b\n")


def spoil_file(folder):
    (folder / "pairs.csv").write_text("noisy,clean\nnoisy/a.nii.gz,clean/gone.nrrd\n")


def spoil_some(folder):
    (folder / "pairs.csv").write_text("noisy,clean\nnoisy/a.nii.gz,clean/a.nrrd\nnoisy/b.nii.gz,\n")


def spoil_modality(folder):
    (folder / "pairs.csv").write_text("noisy,clean,modality\nnoisy/a.nii.gz,clean/a.nrrd,US\n")


def spoil_line(folder):
    (folder / "pairs.csv").write_text("noisy,clean\n,clean/a.nrrd\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_size, r"b.nii.gz: \(3, 40, 48\) voxels, but \(3, 40, 40\) in .*b.nrrd"),
        (spoil_place, r"b.nii.gz: lies elsewhere than .*b.nrrd; resample"),
        (spoil_partner, "b is not both in noisy and in clean"),
        (spoil_name, "noisy: two entries are called alike"),
        (spoil_columns, "must have the columns noisy and clean, got low, full"),
        (spoil_file, "gone.nrrd: named for training .* but not there"),
        (spoil_some, "b.nii.gz: has no clean partner, as 1 of 2"),
        (spoil_modality, "modality must be CT, MR, PET, XR or empty, got 'US'"),
        (spoil_line, r"pairs.csv, line 2: the column noisy is empty"),
    ],
)
def test_pairs_that_do_not_fit_together_are_named(tmp_path, spoil, message):
    spoil(pairs(tmp_path, "ab"))
    with pytest.raises(InputError, match=message):
        build_pairs(tmp_path, tmp_path / PAIRS, report=lambda line: None)


def test_slices_smaller_than_a_patch_are_mirrored(tmp_path):
    write(tmp_path / "noisy" / "a.nii.gz", seed=1, shape=(1, 20, 9))
    build_pairs(tmp_path, tmp_path / PAIRS, report=lambda line: None)
    noisy, _ = batch(pair_sampler(load_pairs(tmp_path / PAIRS, validation=False), 32))
    assert noisy.shape == (16, 1, 32, 32)

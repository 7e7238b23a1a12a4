"""Images by which a training keeps what the model can do: of every modality, and with the model's own results."""

from collections import Counter

import numpy as np
import pytest

from meddenoise import Denoiser, read_volume
from meddenoise.server.datastore import studies_folder
from meddenoise.server.site_data import write_folder
from meddenoise.server.site_rehearsal import DRAWS, SLICES, rehearsal
from meddenoise.server.site_survey import checked, files_of, survey
from meddenoise.server.train_options import TrainOptions
from meddenoise.training.data import open_data
from meddenoise.training.pairs import load_pairs
from meddenoise.training.patches import Mix


@pytest.fixture
def found(tmp_path, make_site):
    """A site of three CTs with clean partners, its files, and the model that is served."""
    datastore = studies_folder(str(make_site(tmp_path / "studies", shape=(2, 64, 64))))
    (tmp_path / "training").mkdir()
    seen = survey(datastore, TrainOptions(), tmp_path / "training")
    site = checked(seen, datastore, TrainOptions(), tmp_path / "training")
    return site, files_of(site, datastore), Denoiser.load("student", device="cpu")


def test_modality_of_the_site_is_rehearsed_beside_the_pairs_and_none_of_it_is_held_back(found, tmp_path):
    site, files, model = found
    assert set(model.card.modalities) > {"CT"}
    rows = list(rehearsal(site, files, model, tmp_path / "rehearsal", seed=1))
    write_folder(site, tmp_path / "site", files, rows)
    open_data(tmp_path / "site", tmp_path, Mix(size=32), report=print)
    pairs = load_pairs(tmp_path / "pairs.safetensors", validation=False)
    assert {pair.info.modality for pair in pairs} == {"CT"}
    rehearsed = Counter(pair.info.volume for pair in pairs if pair.info.subject.startswith("rehearsal"))
    assert set(rehearsed.values()) == {DRAWS // len(rehearsed)}
    assert DRAWS // len(rehearsed) > SLICES
    held_back = load_pairs(tmp_path / "pairs.safetensors", validation=True)
    assert len(held_back) == 2 * len(site.held_back)
    ct = [pair for pair in pairs if pair.info.modality == "CT"]
    assert {(pair.info.offset, pair.info.scale) for pair in ct} == {(-1024.0, 4095.0)}


def test_target_is_what_the_running_model_makes_of_the_noisy_image(found, tmp_path):
    site, files, model = found
    for row in rehearsal(site, files, model, tmp_path / "rehearsal", seed=1):
        noisy, target = (read_volume(row[key], modality=row["modality"]) for key in ("noisy", "clean"))
        assert not np.array_equal(noisy.array, target.array)
        assert np.allclose(model(noisy).volume.array, target.array, atol=1e-3 * np.ptp(target.array))


def test_the_same_seed_gives_the_same_images_and_another_one_others(found, tmp_path):
    site, files, model = found

    def made(name, seed):
        return [read_volume(row["noisy"]).array for row in rehearsal(site, files, model, tmp_path / name, seed=seed)]

    first, again, other = made("a", 1), made("b", 1), made("c", 2)
    assert all(np.array_equal(one, same) for one, same in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])

"""An exported model gives the voxels that the Denoiser gives, in every format, and says what it needs."""

import importlib.util
import json
import subprocess
import sys
import urllib.request

import nibabel
import numpy as np
import pytest
import torch

from meddenoise import Denoiser, read_volume, weights
from meddenoise.cli import main
from meddenoise.errors import ModelError, OptionError
from meddenoise.export import export, graphs
from meddenoise.export.facts import interface
from meddenoise.networks import TwoStage
from meddenoise.weights import Card

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def two_stage(tmp_path_factory):
    """The path of a small two-stage model that changes what it sees."""
    torch.manual_seed(0)
    network = TwoStage(width=8, growth=4, blocks=1)
    with torch.no_grad():
        for stage in (network.nen, network.rn):
            stage.trunk[-1].weight.normal_(std=0.05)
    arguments = {"width": 8, "growth": 4, "blocks": 1}
    card = Card("tiny", "1.0.0", "two_stage", arguments, "Two stages", ["CT", "MR"], 1, 1.0, context=2.0)
    folder = tmp_path_factory.mktemp("weights")
    weights.save(network, card, folder)
    return str(folder / "tiny.safetensors")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export("student", "bundle", tmp_path_factory.mktemp("exported"))


def nifti(path, *, kind="int16", shape=(60, 53, 4), zooms=(0.8, 0.8, 3.0), low=-1100.0, high=300.0):
    """A noisy ball on nothing, in x, y, z."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape[:2]), indexing="ij")
    ball = np.where(x**2 + y**2 < 0.6, high, low).reshape(*shape[:2], *[1] * (len(shape) - 2))
    values = ball + 30.0 * np.random.default_rng(0).normal(size=shape)
    image = nibabel.Nifti1Image(values.astype(kind), np.diag([*zooms[:2], (*zooms, 1.0)[2], 1.0]))
    image.header.set_zooms(zooms[: len(shape)])
    nibabel.save(image, path)
    return path


def ours(model, path, modality):
    denoiser = Denoiser.load(model, device="cpu")
    denoiser.precision = torch.float32  # as the graph computes
    return denoiser(read_volume(path, modality=modality)).volume.array.T


def run_bundle(bundle, path, out, modality):
    options = ["--input", path, "--output_dir", out, "--modality", modality, "--device", "cpu"]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    done = subprocess.run([*command, *map(str, options)], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return nibabel.load(out / path.name)


@pytest.mark.parametrize("model", ["student", "two_stage"])
@pytest.mark.parametrize("ending", ["", "-ct"])
def test_torchscript_computes_what_the_graph_does_for_slices_of_any_size(tmp_path, two_stage, model, ending):
    name = two_stage if model == "two_stage" else model
    network, card = weights.load(name)
    path = export(name, "torchscript", tmp_path)
    found = torch.jit.load(path.with_stem(path.stem + ending))
    graph = graphs(network, card)[ending]
    for slices, rows, columns in ((1, 64, 64), (3, 100, 45)):
        image = 0.5 + 0.1 * torch.randn((slices, graph.channels, rows, columns))
        with torch.inference_mode():
            assert torch.allclose(found(image), graph(image), atol=1e-6)
    facts = json.loads((tmp_path / f"{card.name}.json").read_text())
    assert facts["input"]["shape"][1] == graph.channels
    assert facts["input"]["size"] == "any"
    assert facts["intensity"]["CT in HU"]["offset"] == -1024.0
    assert facts["weights_sha256"] == card.sha256


def test_a_model_that_looks_at_whole_images_says_how_large_they_may_be():
    card = Card("tiny", "1.0.0", "teacher", {}, "Teacher", ["CT"], 1, 1.0)
    size = interface(card, 1)["input"]["size"]
    assert size.startswith("at most 512 x 512 pixels")


def test_a_bundle_has_the_structure_of_the_specification(bundle):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"configs/metadata.json", "configs/inference.json", "models/model.pt", "models/model.ts"} <= files
    assert {"docs/README.md", "LICENSE"} <= files
    assert "Apache License" in (bundle / "LICENSE").read_text()
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    for key in ("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
                "description", "authors", "copyright", "network_data_format", "schema", "intensity_rule"):  # fmt: skip
        assert metadata[key], key
    assert metadata["optional_packages_version"] == {}
    assert metadata["version"] in metadata["changelog"]
    for side in metadata["network_data_format"].values():
        for tensor in side.values():
            assert {"type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range",
                    "is_patch_data", "channel_def"} <= set(tensor)  # fmt: skip
            assert len(tensor["channel_def"]) == tensor["num_channels"]


def test_the_bundles_weights_load_by_what_its_metadata_says(bundle):
    from meddenoise.networks import NETWORKS

    stated = json.loads((bundle / "configs" / "metadata.json").read_text())["network"]
    network = NETWORKS[stated["name"]](**stated["arguments"])
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))


def test_a_bundle_run_gives_the_denoisers_voxels_on_ct(bundle, tmp_path):
    path = nifti(tmp_path / "ct.nii.gz")
    found, expected = run_bundle(bundle, path, tmp_path / "out", "CT"), ours("student", path, "CT")
    assert found.get_data_dtype() == expected.dtype == np.int16
    assert np.array_equal(found.affine, nibabel.load(path).affine)
    different = np.asarray(found.dataobj) != expected
    assert different.mean() < 1e-4  # a half may round either way
    assert np.abs(np.asarray(found.dataobj) - expected).max() <= 1
    assert (expected != np.asarray(nibabel.load(path).dataobj)).mean() > 0.3


@pytest.mark.parametrize(
    ("kind", "shape", "zooms", "modality"),
    [
        ("float32", (60, 53, 4), (0.8, 0.8, 3.0), "MR"),
        ("int16", (60, 5, 53), (0.8, 4.0, 0.8), "MR"),
        ("uint8", (60, 53, 3), (1.0, 1.0, 1.0), "MR"),
        ("float64", (60, 53), (1.0, 1.0), "PET"),
        ("int32", (60, 53, 4), (1.0, 1.0, 1.0), "CT"),
    ],
)
def test_the_bundles_script_gives_the_denoisers_voxels(bundle, tmp_path, kind, shape, zooms, modality):
    path = nifti(tmp_path / "image.nii", kind=kind, shape=shape, zooms=zooms, low=40.0, high=180.0)
    found, expected = scripted(bundle, path, tmp_path / "out", modality), ours("student", path, modality)
    assert found.shape == shape
    np.testing.assert_allclose(found, expected.reshape(shape), atol=1 if np.dtype(kind).kind in "iu" else 2e-3)
    assert (found != expected.reshape(shape)).mean() < 1e-3 or np.dtype(kind).kind == "f"


@pytest.mark.parametrize("zooms", [(0.8, 0.8, 1.5), (0.8, 0.8, 5.0)])
def test_a_bundle_shows_neighbouring_slices_where_the_denoiser_does(two_stage, tmp_path, zooms):
    path = nifti(tmp_path / "ct.nii.gz", zooms=zooms)
    found = scripted(export(two_stage, "bundle", tmp_path / "exported"), path, tmp_path / "out", "CT")
    expected = ours(two_stage, path, "CT")
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


def scripted(bundle, path, out, modality):
    """What the bundle's own script makes of a file, without MONAI around it."""
    spec = importlib.util.spec_from_file_location("denoise", bundle / "scripts" / "denoise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.Denoise(str(bundle), modality, torch.device("cpu"))(str(path), str(out))
    return np.asarray(nibabel.load(written).dataobj)


@pytest.mark.slow
def test_the_metadata_verifies_against_monais_schema(bundle, tmp_path):
    from monai.bundle import verify_metadata

    metadata = bundle / "configs" / "metadata.json"
    try:
        urllib.request.urlopen(json.loads(metadata.read_text())["schema"], timeout=10).close()
    except OSError as error:
        pytest.skip(f"the schema cannot be reached: {error}")
    verify_metadata(str(metadata), filepath=str(tmp_path / "schema.json"))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["student", "two_stage"])
def test_onnx_computes_what_the_graph_does_for_slices_of_any_size(tmp_path, two_stage, model):
    onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    name = two_stage if model == "two_stage" else model
    network, card = weights.load(name)
    path = export(name, "onnx", tmp_path)
    for ending, graph in graphs(network, card).items():
        file = path.with_stem(path.stem + ending)
        onnx.checker.check_model(file, full_check=True)
        session = runtime.InferenceSession(file)
        for slices, rows, columns in ((1, 64, 64), (3, 100, 45)):
            image = 0.5 + 0.1 * torch.randn((slices, graph.channels, rows, columns))
            with torch.inference_mode():
                expected = graph(image).numpy()
            np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], expected, atol=1e-5)


def test_onnx_without_its_library_says_what_to_install(tmp_path):
    if importlib.util.find_spec("onnxscript"):
        pytest.skip("ONNX is installed here")
    with pytest.raises(OptionError, match=r"install meddenoise\[export\]"):
        export("student", "onnx", tmp_path)


def test_the_command_names_what_it_wrote_and_replaces_it(tmp_path, capsys):
    for _ in range(2):
        assert main(["export", "student", "--format", "torchscript", "--out", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'student.ts'}\n"
    assert main(["export", "nothing", "--format", "bundle", "--out", str(tmp_path)]) == 1
    assert "unknown model 'nothing'" in capsys.readouterr().err


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="unknown model"):
        export("nothing", "bundle", tmp_path)

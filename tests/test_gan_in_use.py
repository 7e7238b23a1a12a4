"""A model of content and noise predictor denoises volumes, shows its noise and is exported as any other."""

import numpy as np
import pytest
import torch

from meddenoise import Denoiser, weights
from meddenoise.export import export
from meddenoise.export.graph import ImageOnly
from meddenoise.inference.slabs import Slab
from meddenoise.io import read_volume
from meddenoise.networks import Gan

SIZES = {"unet": {"widths": (8, 8, 16)}, "dncnn": {"width": 8, "depth": 4}}

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


@pytest.fixture
def model(tmp_path):
    """The file of a small pair of unlike predictors whose weights are random."""
    arguments = {"content": "unet", "noise": "dncnn", "sizes": SIZES, "light": True}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Gan(**arguments)
        torch.nn.init.normal_(network.noise.end[-1].weight, std=0.1)
    network.shares.data = torch.tensor([0.2, 0.8])
    weights.save(network, weights.Card("tiny", "1.0.0", "gan", arguments, "Tiny", ["CT"], 1, 1.0), tmp_path)
    return str(tmp_path / "tiny.safetensors")


def test_a_volume_comes_back_with_the_noise_that_the_predictor_estimates(model, ct_file):
    volume = read_volume(ct_file)
    result = Denoiser.load(model, device="cpu")(volume, noise_map=True)
    assert result.volume.array.dtype == volume.array.dtype
    assert not np.array_equal(result.volume.array, volume.array)
    assert result.noise.array.shape == volume.array.shape
    assert result.noise.array.min() < 0 < result.noise.array.max()
    assert not np.allclose(result.noise.array, result.difference.array, atol=0.5)


def test_tiles_show_no_seams(model, ct_file):
    volume = read_volume(ct_file)
    network, card = weights.load(model)
    results = []
    for slab in (None, Slab(tile=96)):
        denoiser = Denoiser(network, card, device="cpu", slab=slab)
        denoiser.precision = torch.float32
        results.append(denoiser(volume).difference.array)
    assert np.allclose(*results, atol=0.01)


def test_torchscript_computes_what_the_graph_does_for_slices_of_any_size(model, tmp_path):
    path = export(model, "torchscript", tmp_path / "out")
    found, graph = torch.jit.load(path), ImageOnly(weights.load(model)[0], hounsfield=False)
    for slices, rows, columns in ((1, 64, 64), (3, 100, 45)):
        image = 0.5 + 0.1 * torch.randn((slices, 1, rows, columns))
        with torch.inference_mode():
            assert torch.allclose(found(image), graph(image), atol=1e-6)


@pytest.mark.slow
def test_onnx_computes_what_the_graph_does_for_slices_of_any_size(model, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(export(model, "onnx", tmp_path / "out"))
    graph = ImageOnly(weights.load(model)[0], hounsfield=False)
    for slices, rows, columns in ((1, 64, 64), (3, 100, 45)):
        image = 0.5 + 0.1 * torch.randn((slices, 1, rows, columns))
        with torch.inference_mode():
            expected = graph(image).numpy()
        np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], expected, atol=1e-5)

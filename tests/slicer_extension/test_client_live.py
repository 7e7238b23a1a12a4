"""The client against a really running server with the published weights."""

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest

from fault_server import INFO
from MedDenoiseLib.Client import Client, Request
from MedDenoiseLib.Errors import Canceled, Forbidden, Refused, Unauthorized
from MedDenoiseLib.Job import Job

pytest.importorskip("monailabel", reason="runs a server, which needs monailabel")

import SimpleITK as sitk  # noqa: N813

from meddenoise import Denoiser, read_volume
from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port
from meddenoise.server.tokens import new_token


def agreed(address, **more):
    return Client(address, consented=lambda host: True, timeout=60.0, **more)


@contextlib.contextmanager
def started(folder, **environment):
    """A server over an empty folder of studies, with its home beside it."""
    for name in ("studies", "tmp"):
        (folder / name).mkdir()
    home = {"MEDDENOISE_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), **environment}
    with server_process(folder / "studies", port=free_port(), log=folder / "log", environment=home) as address:
        yield address


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with started(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def withTokens(tmp_path_factory):
    """A server that wants tokens; its address and a token by role."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = {role: new_token(role, role) for role in ("reader", "user")}
    path = folder / "tokens"
    path.write_text("".join(f"{line}\n" for _, line in tokens.values()))
    path.chmod(0o600)
    with started(folder, MEDDENOISE_TOKENS=str(path)) as address:
        yield address, {role: token for role, (token, _) in tokens.items()}


@pytest.fixture
def write(tmp_path):
    """write(slices, ...) stores a noisy oblique CT of some slices and gives its path."""

    def make(slices, size=48, dtype=np.int16):
        values = np.resize(np.random.default_rng(3).normal(60, 25, (8, size, size)), (slices, size, size))
        values[:, : size // 4] -= 1060  # air
        image = sitk.GetImageFromArray(np.rint(values).astype(dtype))
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-20.5, 11.25, 3.0))
        image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, -1))  # left-handed too
        sitk.WriteImage(image, str(tmp_path / f"image{slices}.nrrd"))
        return tmp_path / f"image{slices}.nrrd"

    return make


@pytest.fixture
def denoise(address, tmp_path):
    """denoise(path, ...) asks the server; what it tells meanwhile is in its attribute `seen`."""
    (tmp_path / "results").mkdir()
    seen = []

    def run(path, client=None, canceled=lambda: False, **more):
        request = Request("student", str(path), str(tmp_path / "results"), **more)
        return (client or agreed(address)).denoise(request, seen.append, canceled)

    run.seen, run.folder = seen, tmp_path / "results"
    return run


def test_server_describes_itself_as_the_other_tests_believe(address):
    info = agreed(address).info()
    assert info.name == INFO["name"]
    assert info.device in ("cpu", "cuda")
    (student,) = (model for model in info.models if model.name == "student")
    assert student.uncertainty
    assert student.modalities == ("CT", "MR", "PET", "XR")
    assert student.recommendedFor == student.modalities
    assert student.version
    assert "noise level" in student.description


def test_result_is_what_the_library_gives_in_the_same_geometry(denoise, write):
    path = write(5)
    answer = denoise(path, modality="CT")
    expected = Denoiser.load("student")(read_volume(path, modality="CT"))
    sent, back = sitk.ReadImage(str(path)), sitk.ReadImage(answer.volumePath)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(sent) - expected.difference.array
    )
    assert back.GetPixelID() == sent.GetPixelID()
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, what)(), getattr(sent, what)(), rtol=0, atol=1e-12)
    assert answer.settings["modality"] == "CT"
    assert answer.figures["noise_after"] < answer.figures["noise_before"]
    assert answer.version == expected.model["version"]
    assert denoise.seen[0].stage == "sending"
    assert denoise.seen[-1].stage == "receiving"
    assert denoise.seen[-1].done == 1.0


def test_strength_zero_gives_the_input_back_bit_for_bit(denoise, write):
    path = write(2)
    back = sitk.ReadImage(denoise(path, strength=0.0).volumePath)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_modality_that_is_not_said_is_guessed_and_that_is_warned_of(denoise, write):
    assert any("guessed" in warning for warning in denoise(write(2)).warnings)
    assert not any("guessed" in warning for warning in denoise(write(2), modality="CT").warnings)


def test_uncertainty_comes_beside_the_denoised_image(denoise, write):
    path = write(3)
    answer = denoise(path, modality="CT", uncertainty=True)
    expected = Denoiser.load("student")(read_volume(path, modality="CT"), uncertainty=True)
    spread = sitk.ReadImage(answer.uncertaintyPath)
    np.testing.assert_allclose(sitk.GetArrayFromImage(spread), expected.uncertainty.array, rtol=1e-4, atol=1e-3)
    assert spread.GetDirection() == sitk.ReadImage(answer.volumePath).GetDirection()
    assert len(list(denoise.folder.iterdir())) == 2
    done = [one.done for one in denoise.seen if one.stage == "denoising"]
    assert done == sorted(done)


def test_cancel_in_the_middle_of_denoising_is_quick_and_frees_the_server(denoise, write, address):
    large, since = write(240, 320), []

    def canceled():
        if not since and any(one.stage == "denoising" and (one.done or 0) > 0 for one in denoise.seen):
            since.append(time.monotonic())
        return bool(since)

    with pytest.raises(Canceled):
        denoise(large, modality="CT", canceled=canceled)
    assert time.monotonic() - since[0] < 1.0
    assert list(denoise.folder.iterdir()) == []
    assert max(one.done or 0 for one in denoise.seen if one.stage == "denoising") < 0.3
    start = time.monotonic()
    denoise(write(1), modality="CT")  # would stand in line behind the rest of the large one, which takes far longer
    assert time.monotonic() - start < 10


def test_second_request_waits_in_line_and_says_so(denoise, write, address):
    large, small = write(40, 320), write(1)
    first = Job(lambda progress, canceled: denoise(large, modality="CT", canceled=canceled))
    first.start()
    while not any(one.stage == "denoising" for one in denoise.seen):
        assert not first.tick()
    told = []
    request = Request("student", str(small), str(denoise.folder), "CT")
    agreed(address).denoise(
        request, lambda one: (told.append(one), first.cancel() if "in line" in one.text else None), bool
    )
    assert any(one.text.startswith("place 1 in line") for one in told)
    while not first.tick():
        pass
    with pytest.raises(Canceled):
        first.result()


def test_image_that_cannot_be_denoised_is_refused_with_the_servers_reason(denoise, tmp_path):
    values = np.zeros((2, 20, 20), np.float32)
    values[1, 3, 4] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "nan.nrrd"))
    with pytest.raises(Refused, match=r"127\.0\.0\.1 refused: image\.nrrd.*NaN"):
        denoise(tmp_path / "nan.nrrd")


def test_model_that_is_not_there_is_refused_before_the_image_leaves(address, write, tmp_path):
    with pytest.raises(Refused, match="'nobody'"):
        agreed(address).denoise(Request("nobody", str(write(1)), str(tmp_path)), print, lambda: False)


def test_tokens_open_what_their_role_may(denoise, write, withTokens):
    address, tokens = withTokens
    for wrong in ("", "x" * 40):
        with pytest.raises(Unauthorized, match="valid token"):
            agreed(address, token=wrong).info()
    assert agreed(address, token=tokens["reader"]).info().models
    with pytest.raises(Forbidden, match="needs the role user"):
        denoise(write(2), client=agreed(address, token=tokens["reader"]))
    answer = denoise(write(2), client=agreed(address, token=tokens["user"]), modality="CT")
    assert Path(answer.volumePath).stat().st_size > 0

"""Good images through the running server: the same voxels as the Denoiser gives, exactly where they were."""

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813

from meddenoise import Denoiser, read_volume

VOLUMES = ["oblique", "left_handed", "sheared", "unsigned", "bytes", "scan 2.5mm v1", "tiny", "constant", "labels"]
IMAGES = [*VOLUMES, "flat", "grey", "CT_small", "MR_small"]


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser.load("student")


@pytest.fixture(scope="module")
def expected(server, denoiser):
    return lambda image, **options: denoiser(read_volume(server.path(image)), **options)


def geometry(image):
    return [*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]


@pytest.mark.parametrize("image", IMAGES)
def test_result_has_the_voxels_the_denoiser_gives(server, expected, image):
    path, _ = server.infer(image)
    assert path.suffix == ".nrrd"
    np.testing.assert_array_equal(read_volume(path).array, expected(image).volume.array)


@pytest.mark.parametrize("image", ["oblique", "CT_small", "flat"])
def test_denoising_changes_the_image(server, image):
    path, answer = server.infer(image)
    assert not np.array_equal(read_volume(path).array, read_volume(server.path(image)).array)
    assert answer["figures"]["fraction_changed"] > 0.1


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
@pytest.mark.parametrize("image", [*VOLUMES, "flat"])
def test_result_has_exactly_the_geometry_of_the_input(server, image, extension):
    path, _ = server.infer(image, result_extension=extension)
    sent, back = sitk.ReadImage(str(server.path(image))), sitk.ReadImage(str(path))
    tolerance = 1e-6 if image.startswith("scan") else 1e-12  # NIfTI itself holds float32
    np.testing.assert_allclose(geometry(back), geometry(sent), rtol=0, atol=tolerance)
    assert back.GetPixelID() == sent.GetPixelID()


@pytest.mark.parametrize("image", ["oblique", "left_handed", "flat"])
def test_nifti_result_keeps_the_geometry_to_its_own_precision(server, image):
    path, _ = server.infer(image, result_extension=".nii.gz")
    sent, back = sitk.ReadImage(str(server.path(image))), sitk.ReadImage(str(path))
    shared = sent.GetDimension()
    np.testing.assert_allclose(back.GetSpacing()[:shared], sent.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(back.GetOrigin()[:shared], sent.GetOrigin(), atol=1e-5)


def test_sheared_volume_is_refused_as_nifti(server):
    answer = server.post(image="sheared", params={"result_extension": ".nii.gz"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "GeometryError"


@pytest.mark.parametrize("image", VOLUMES)
def test_strength_zero_gives_the_input_back_bit_for_bit(server, image):
    path, answer = server.infer(image, strength=0)
    sent, back = sitk.ReadImage(str(server.path(image))), sitk.ReadImage(str(path))
    assert sitk.GetArrayFromImage(back).tobytes() == sitk.GetArrayFromImage(sent).tobytes()
    assert answer["figures"]["fraction_changed"] == 0


def test_strength_one_half_lies_between(server, expected):
    path, answer = server.infer("oblique", strength=0.5)
    assert answer["settings"]["strength"] == 0.5
    np.testing.assert_array_equal(read_volume(path).array, expected("oblique", strength=0.5).volume.array)


def test_difference_is_input_minus_denoised_as_float(server):
    difference, answer = server.infer("left_handed", output_type="difference")
    denoised, _ = server.infer("left_handed")
    before, after, removed = (sitk.ReadImage(str(p)) for p in (server.path("left_handed"), denoised, difference))
    assert answer["output_type"] == "difference"
    assert removed.GetPixelID() == sitk.sitkFloat32
    assert geometry(removed) == geometry(before)
    first, second = (sitk.GetArrayFromImage(image).astype(np.float32) for image in (before, after))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(removed), first - second)


def test_json_has_monai_labels_keys_and_the_noise_numbers(server):
    _, answer = server.infer("oblique")
    latencies = answer["latencies"]
    assert set(latencies) == {"pre", "infer", "invert", "post", "write", "total", "transform"}
    assert latencies["infer"] > 0
    assert latencies["total"] == pytest.approx(latencies["pre"] + latencies["infer"] + latencies["write"], abs=0.003)
    assert answer["label_names"] == {}
    assert {"noise_before", "noise_after", "bias", "fraction_changed"} <= set(answer["figures"])
    assert answer["figures"]["noise_after"] < answer["figures"]["noise_before"]
    assert answer["model"]["name"] == "student"
    assert len(answer["model"]["sha256"]) == 64
    assert answer["settings"]["modality"] == "MR"
    assert "not a medical device" in answer["disclaimer"]
    assert any("guess" in sentence for sentence in answer["warnings"])


def test_modality_option_is_taken(server):
    _, answer = server.infer("oblique", modality="PET")
    assert answer["settings"]["modality"] == "PET"


def test_stock_clients_uint8_is_ignored_with_a_warning(server, expected):
    path, answer = server.infer("left_handed", result_dtype="uint8", result_extension=".nrrd")
    np.testing.assert_array_equal(read_volume(path).array, expected("left_handed").volume.array)
    assert any("uint8 was ignored" in sentence for sentence in answer["warnings"])


def test_integer_result_of_a_float_image_is_rounded(server, expected):
    path, _ = server.infer("oblique", result_dtype="int16")
    back = sitk.ReadImage(str(path))
    assert back.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), np.rint(expected("oblique").volume.array))


@pytest.mark.parametrize(
    ("image", "dtype", "limits"), [("unsigned", "int16", "-32768 to 32767"), ("CT_small", "uint16", "0 to 65535")]
)
def test_result_that_the_asked_type_cannot_hold_is_refused(server, image, dtype, limits):
    before = set(server.temporary.iterdir())
    answer = server.post(image=image, params={"result_dtype": dtype})
    assert answer.status_code == 400
    assert answer.json()["error"] == "OptionError"
    assert answer.json()["detail"].startswith(f"result_dtype {dtype} holds {limits}, the result has ")
    assert set(server.temporary.iterdir()) == before


def test_result_is_recognised_when_sent_again(server, tmp_path):
    path, _ = server.infer("oblique")
    answer = server.post(upload=path, output="json").json()
    assert any("MedDenoise" in sentence for sentence in answer["warnings"])


def test_upload_is_denoised_like_the_image_in_the_studies_folder(server, expected):
    path, _ = server.client.infer("student", "", {}, file=str(server.path("scan 2.5mm v1")))
    np.testing.assert_array_equal(read_volume(path).array, expected("scan 2.5mm v1").volume.array)


def test_session_with_one_file_is_denoised(server, expected):
    session = server.client.create_session(str(server.path("unsigned")))
    path, _ = server.client.infer("student", "", {}, session_id=session["session_id"])
    np.testing.assert_array_equal(read_volume(path).array, expected("unsigned").volume.array)


def test_session_with_a_dicom_series_is_denoised_as_one_volume(server, denoiser, dicom_series):
    sent = [("files", (path.name, path.read_bytes())) for path in dicom_series]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()
    path, answer = server.client.infer("student", "", {}, session_id=session["session_id"])
    volume = read_volume(dicom_series[0].parent)
    back = read_volume(path)
    assert volume.array.shape[0] == len(dicom_series)
    np.testing.assert_array_equal(back.array, denoiser(volume).volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, rtol=0, atol=1e-9)
    assert answer["settings"]["modality"] == "CT"
    assert answer["input"]["files"] == len(dicom_series)


@pytest.mark.parametrize("output", ["image", "json"])
def test_image_or_json_alone(server, output):
    answer = server.post(image="oblique", output=output)
    assert answer.status_code == 200
    kind = answer.headers["content-type"]
    assert ("json" in kind) == (output == "json")
    if output == "image":
        assert answer.content.startswith(b"NRRD")


def test_saved_result_gets_its_own_tag(server):
    server.infer("constant", save_label=True)
    saved = server.studies / "labels" / "denoised_student" / "constant.nrrd"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(saved))), 12)


def test_saved_result_is_never_a_training_target(server):
    answer = server.post(image="bytes", params={"save_label": True, "label_tag": "final"})
    assert answer.status_code == 200
    assert (server.studies / "labels" / "denoised_student" / "bytes.nrrd").exists()
    assert not list((server.studies / "labels" / "final").iterdir())  # MONAI Label makes the folder at its start


def test_saved_result_stays_in_the_studies_folder(server):
    around = set(server.studies.parent.iterdir())
    server.post(image="bytes", params={"save_label": True, "label_tag": "../../../escaped"})
    assert set(server.studies.parent.iterdir()) == around
    kept = {path.parent.name for path in server.studies.rglob("bytes.nrrd")}
    assert kept <= {server.studies.name, "denoised_student"}


def test_info_lists_the_model_its_options_and_no_labels(server):
    info = server.client.info()
    model = info["models"]["student"]
    assert info["labels"]
    assert info["problems"] == {}
    assert model["type"] == "others"
    assert model["labels"] == []
    assert {"strength", "modality", "device", "output_type", "result_extension", "result_dtype"} <= set(model["config"])
    assert {"random", "first"} <= set(info["strategies"])


@pytest.mark.parametrize("strategy", ["random", "first"])
def test_next_sample_is_one_of_the_images(server, strategy):
    assert server.path(server.client.next_sample(strategy, {})["id"]).exists()


def test_result_files_do_not_stay_on_the_server(server, tmp_path):
    before = set(server.temporary.iterdir())
    server.infer("oblique")
    server.post(upload=server.path("oblique"))
    server.post(upload=server.path("text"))
    assert set(server.temporary.iterdir()) == before

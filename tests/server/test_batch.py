"""MONAI Label's batch task does what `meddenoise batch` does, and tells it in MONAI Label's words."""

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise import read_volume
from meddenoise.batch import PlainEngine, find_items, run_batch
from meddenoise.server.batch import BatchTask
from meddenoise.server.datastore import studies_folder
from meddenoise.server.models import ModelPool
from meddenoise.server.problems import Problem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of libraries that MONAI Label's task loads

REQUEST = {  # what MONAI Label's route sends where the client says nothing
    "model": "student", "images": "all", "device": "cuda", "multi_gpu": True, "gpus": "all", "logging": "WARNING",
    "save_label": True, "label_tag": "original", "max_workers": 1, "max_batch_size": 0,
}  # fmt: skip


def no_infer(request, datastore):
    raise AssertionError("the batch does the work itself")


@pytest.fixture
def studies(tmp_path):
    """A studies folder of two images and a damaged one."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for number, name in enumerate(("a.nrrd", "b.nii.gz")):
        noisy = 100 + 20 * np.random.default_rng(number).normal(size=(2, 32, 40))
        sitk.WriteImage(sitk.GetImageFromArray(noisy.astype(np.int16)), str(folder / name))
    (folder / "bad.nrrd").write_text("no image")
    return folder


@pytest.fixture
def datastore(studies, monkeypatch):
    monkeypatch.setattr("meddenoise.server.datastore.settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    return studies_folder(str(studies))


@pytest.fixture
def run(datastore, denoiser):
    """Run the task over the folder with more or other keys in the request."""
    task = BatchTask(ModelPool(lambda name, device: denoiser))
    return lambda **request: task({**REQUEST, **request}, datastore, no_infer)


def test_bad_image_is_named_and_the_others_are_denoised(run, datastore, match):
    result = run()
    assert json.loads(json.dumps(result)) == result
    match("^bad.nrrd: cannot be read as an image", result["bad"]["error"])  # without the server's folders
    for image in ("a", "b"):
        assert (result[image]["label"], result[image]["tag"]) == (image, "denoised_student")
        assert result[image]["params"]["state"] == "done"
        assert result[image]["params"]["figures"]["noise_after"] < result[image]["params"]["figures"]["noise_before"]
        assert datastore.get_label_by_image_id(image, "denoised_student") == image
        assert datastore.get_label_info(image, "denoised_student")["params"]["state"] == "done"
    assert not datastore.get_labeled_images()  # a result is no label to train on


def test_results_are_those_of_the_command_in_the_same_place(run, studies, denoiser):
    run()
    items, _, folder = find_items([studies], model="student")
    summary = run_batch(items, PlainEngine([denoiser]), folder)
    assert (summary.count("done"), summary.count("skipped"), summary.count("failed")) == (0, 2, 1)
    for name in ("a.nrrd", "b.nii.gz"):
        expected = denoiser(read_volume(studies / name)).volume.array
        np.testing.assert_array_equal(read_volume(studies / "labels" / "denoised_student" / name).array, expected)


def test_second_run_skips_what_is_done_unless_told_otherwise(run):
    def states(result):
        return {image: answer["params"]["state"] for image, answer in result.items() if "params" in answer}

    assert states(run()) == {"a": "done", "b": "done"}
    assert states(run()) == {"a": "skipped", "b": "skipped"}
    assert states(run(resume=False, images=["a"])) == {"a": "done"}


def test_chosen_images_alone_are_denoised_and_unknown_ones_named(run, studies):
    result = run(images=["b", "gone"])
    assert set(result) == {"b", "gone"}
    assert result["gone"] == {"error": "there is no image 'gone'"}
    assert not (studies / "labels" / "denoised_student" / "a.nrrd").exists()


def test_at_most_as_many_as_asked_for(run):
    assert set(run(max_batch_size=1)) == {"a"}


def test_result_of_another_format_takes_the_place_of_the_earlier(run, datastore, studies):
    run(images=["b"])
    run(images=["b"], result_extension=[".nrrd", ".nii.gz"])  # a whole list of choices means its first
    assert datastore.get_label_uri("b", "denoised_student").endswith("b.nrrd")
    assert not (studies / "labels" / "denoised_student" / "b.nii.gz").exists()


@pytest.mark.parametrize(
    ("wrong", "status", "reason"),
    [
        ({"strength": 2}, 400, "strength must be"),
        ({"output_type": "difference"}, 400, "denoised images"),
        ({"result_dtype": "float32"}, 400, "denoised images"),
        ({"store": True}, 400, "needs a PACS"),
        ({"result_extension": ".dcm"}, 400, "needs? DICOM in"),
        ({"deidentify": True, "result_extension": ".dcm"}, 400, "de-identifies nothing"),
    ],
)
def test_what_a_batch_cannot_do_is_refused_before_it_starts(run, studies, match, wrong, status, reason):
    with pytest.raises(Problem) as raised:
        run(**wrong)
    assert raised.value.status_code == status
    match(reason, raised.value.detail)
    assert not (studies / "labels" / "denoised_student").exists()


def test_unknown_model_is_refused(datastore, studies):
    with pytest.raises(Problem, match="unknown model"):
        BatchTask()({**REQUEST, "model": "nothing"}, datastore, no_infer)
    assert not (studies / "labels" / "denoised_nothing").exists()

"""A batch goes through all images, whatever one of them is like, and runs without a GPU."""

import pytest

from meddenoise.errors import InputError
from meddenoise.server.batch import BatchTask
from meddenoise.server.problems import problem_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of libraries that MONAI Label's task loads


class Images:
    """A datastore of three images."""

    def list_images(self):
        return ["good", "bad", "also good"]


def infer(request, images):
    if request["image"] == "bad":
        raise problem_of(InputError("bad is no image"))
    return {"label": request["image"], "request": request}


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_image_is_named_and_the_others_are_denoised(workers):
    result = BatchTask()(
        {"model": "student", "max_workers": workers, "device": "cpu", "multi_gpu": False}, Images(), infer
    )
    assert result["bad"] == {"error": "bad is no image"}
    assert {result[name]["label"] for name in ("good", "also good")} == {"good", "also good"}


def test_results_are_kept_apart_from_segmentations():
    result = BatchTask()({"model": "student", "device": "cpu", "multi_gpu": False}, Images(), infer)
    assert result["good"]["request"]["label_tag"] == "denoised_student"


def test_defect_of_ours_is_not_swallowed():
    def broken(request, images):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        BatchTask()({"model": "student", "max_workers": 1, "device": "cpu", "multi_gpu": False}, Images(), broken)

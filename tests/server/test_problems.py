"""Errors raised on purpose get the HTTP status that fits them, and keep their sentence."""

import pytest
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException

from meddenoise.errors import GeometryError, InputError, ModelError, OptionError, OutputError, ServiceError
from meddenoise.server.checks import safe_name
from meddenoise.server.problems import Problem, http_errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("what"), 422),
        (GeometryError("what"), 422),
        (OptionError("what"), 400),
        (OutputError("what"), 400),
        (ModelError("what"), 404),
        (ServiceError("what"), 503),
        (ImageNotFoundException("what"), 404),
        (MONAILabelException(MONAILabelError.INVALID_INPUT, "what"), 400),
        (MONAILabelException(MONAILabelError.SERVER_ERROR, "what"), 500),
    ],
)
def test_error_gets_its_status_and_keeps_its_sentence(error, status):
    with pytest.raises(Problem) as caught, http_errors():
        raise error
    assert (caught.value.status_code, caught.value.detail) == (status, "what")
    assert caught.value.error == type(error).__name__


def test_result_that_the_servers_disk_cannot_hold_is_too_large():
    error = OutputError("x.nrrd cannot be written")
    error.__cause__ = OSError(28, "No space left on device")
    with pytest.raises(Problem) as caught, http_errors():
        raise error
    assert caught.value.status_code == 413


def test_defects_of_ours_pass_through():
    with pytest.raises(ZeroDivisionError), http_errors():
        1 / 0  # noqa: B018


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("scan 2.5mm.nii.gz", "scan 2.5mm.nii.gz"),
        ("../../etc/passwd", "passwd"),
        (r"C:\scans\a.nrrd", "a.nrrd"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.mha", "a_b_.mha"),
        ("é" * 200 + ".nii.gz", "é" * 40 + ".nii.gz"),
    ],
)
def test_upload_names_are_harmless_and_keep_their_extension(name, safe):
    assert safe_name(name).endswith(safe[-20:])
    assert len(safe_name(name).encode()) <= 255
    if len(name) < 100:
        assert safe_name(name) == safe

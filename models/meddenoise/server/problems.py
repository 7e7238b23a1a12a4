"""Our errors, and MONAI Label's, as answers over HTTP: the right status and a sentence instead of a bare 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException

from meddenoise.errors import InputError, MedDenoiseError, ModelError, OptionError, OutputError, ServiceError

STATUS: dict[type[MedDenoiseError], int] = {
    InputError: 422,
    OptionError: 400,
    OutputError: 400,
    ModelError: 404,
    ServiceError: 503,
}
TOO_LARGE = 413
"""More than the server can store; HTTP knows it as a fault of the request, which a smaller one would not have."""
SERVER_SIDE = {MONAILabelError.SERVER_ERROR, MONAILabelError.UNKNOWN_ERROR, MONAILabelError.CLASS_INIT_ERROR}


class Problem(HTTPException):
    """An answer to the client: a status, the name of the error, and a sentence that says what was wrong.

    It is an ``HTTPException`` so that the plain MONAI Label server answers ``{"detail": sentence}`` with the same
    status; under ``meddenoise serve`` the name comes along as ``{"error": name, "detail": sentence}``.
    """

    def __init__(self, status: int, error: str, sentence: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status_code=status, detail=sentence, headers=headers)
        self.error = error


def problem_of(error: MedDenoiseError | MONAILabelException) -> Problem:
    """The answer for an error raised on purpose, by us or by MONAI Label."""
    if isinstance(error, MONAILabelException):
        status = 404 if isinstance(error, ImageNotFoundException) else 500 if error.error in SERVER_SIDE else 400
        return Problem(status, type(error).__name__, str(error.msg))
    if isinstance(error, OutputError) and isinstance(error.__cause__, OSError):
        return Problem(TOO_LARGE, type(error).__name__, str(error))
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
    return Problem(status, type(error).__name__, str(error))


@contextmanager
def http_errors() -> Iterator[None]:
    """Turn errors raised on purpose inside the block into their answers; every other error passes through."""
    try:
        yield
    except (MedDenoiseError, MONAILabelException) as error:
        raise problem_of(error) from error

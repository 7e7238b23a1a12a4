"""A client that does what a test tells it: for what a real server does too fast or too rarely to be clicked."""

import shutil
import threading
from pathlib import Path

from MedDenoiseLib.Client import Answer, Model, Progress, ServerInfo
from MedDenoiseLib.Errors import Canceled

STUDENT = Model("student", "Student", "For everything.", "0.1.0", ("CT", "MR", "PET", "XR"), ("CT", "PET"), (), True)
BRAIN = Model("brain", "Brain", "For heads.", "2.0", ("MR",), ("MR",), ("difference",), False)


class ScriptedClient:
    """Answers with the image it was given, once the test lets it.

    Attributes:
        error: raised instead of an answer, if any.
        go: set by the test: let the denoising end.
        requests: what was asked for.
        seen: the files of each request's folder, when it was sent.
    """

    def __init__(self, models=(STUDENT, BRAIN), error=None, warnings=()):
        self.models, self.error, self.warnings = models, error, warnings
        self.requests, self.seen, self.infos = [], [], 0
        self.go = threading.Event()
        self.go.set()
        self.script = []

    def info(self, canceled=lambda: False):
        self.infos += 1
        self._wait(canceled)
        if self.error is not None:
            raise self.error
        return ServerInfo("MedDenoise", "0.1.0", tuple(self.models))

    def denoise(self, request, progress, canceled):
        self.requests.append(request)
        self.seen.append(sorted(file.name for file in Path(request.folder).iterdir()))
        for step in self.script:
            progress(Progress(*step))
        self._wait(canceled)
        if self.error is not None:
            raise self.error
        paths = [str(Path(request.folder, name)) for name in ("answer.nrrd", "map.nrrd")]
        for path in paths:
            shutil.copyfile(request.imagePath, path)
        figures = {"noise_before": 8.0, "noise_after": 2.0}
        path, map_path = paths
        uncertainty = map_path if request.uncertainty else None
        return Answer(path, uncertainty, figures, tuple(self.warnings), request.model, "0.1.0", 0.5, {})

    def _wait(self, canceled):
        while not self.go.wait(0.001):
            if canceled():
                raise Canceled

"""An administrator's client that does what a test tells it, for what a real server does too fast or too rarely."""

import threading
from pathlib import Path

from MedDenoiseLib.Answers import ServerInfo
from MedDenoiseLib.Errors import Canceled
from MedDenoiseLib.Transfer import Progress
from MedDenoiseTrainingLib.Trainers import Option, Trainer
from MedDenoiseTrainingLib.Training import RUNNING, STOPPED, Training
from MedDenoiseTrainingLib.TrainingClient import Overview
from MedDenoiseTrainingLib.Versions import BUILT_IN, Case, Version, Versions

OPTIONS = (
    Option("minutes", 20.0, (), "How long it may take."),
    Option("epochs", 0),
    Option("device", "auto", ("auto", "cpu")),
    Option("publish", True),
    Option("patient_from", ""),
)
STUDENT = Trainer("student", "Trains the small network.", OPTIONS)
GAN = Trainer("gan", "Trains the other.", (Option("brand_new", 0.5),))
CASE = Case("patient 1", "pair", "CT", -0.06, (0.5, 0.47), (0.2, -0.1), "HU")
BETTER = "better than 0.2.0: on this site's images its error is smaller by 6.0%"
PNG = bytes.fromhex(  # one white pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe0def46b8"
    "0000000049454e44ae426082"
)


def running(**more):
    return Training(RUNNING, "student", stage="training the student", step=3, steps=40, lines=("a", "b"), **more)


class ScriptedTraining:
    """A server in memory.

    Attributes:
        error: raised by the next call that is not `training`, if any.
        watchError: raised by `training`.
        go: set by the test: let calls end.
        now: The training.
        calls: What was asked for, but for `training`.
        seen: The files of each upload's folder, when it was sent.
    """

    host = "127.0.0.1"

    def __init__(self, trainers=(STUDENT, GAN), now=None):
        self.trainers, self.now = trainers, now
        self.error = self.watchError = None
        self.calls, self.seen, self.looks, self.images = [], [], 0, 0
        self.go = threading.Event()
        self.go.set()
        self.names, self.active = [BUILT_IN, "0.2.0+site.1", "0.2.0+site.2"], "0.2.0+site.2"

    def overview(self, canceled=lambda: False):
        self._do(canceled, "overview")
        info = ServerInfo("MedDenoise", "0.1.0")
        listed = tuple(self._version(name) for name in self.names)
        models = (Versions("student", listed), Versions("gan", problem="its weights are damaged"))
        return Overview(info, tuple(self.trainers), self.images, self.images, models, self.now)

    def _version(self, name):
        if name == BUILT_IN:
            return Version(name, "0.2.0", name == self.active)
        pictures = ("comparison-CT-phantom.png", "comparison-patient-1.png")
        return Version(name, name, name == self.active, "2026-01-02 03:04", "", BETTER, -0.06, 0.01, (CASE,), pictures)

    def store(self, deposit, progress, canceled):
        files = [Path(path) for path in (deposit.imagePath, deposit.partnerPath) if path]
        self.seen.append([path.read_bytes() for path in files])
        progress(Progress("sending", 0.5, "1.0 of 2.0 MB"))
        self._do(canceled, "store", deposit)
        progress(Progress("storing"))
        self.images += 1

    def start(self, recipe, options, canceled=lambda: False):
        self._do(canceled, "start", recipe, options)
        self.now = running()
        return {"learns_from": "pairs of images", "patients": 3, "held_back_patients": 1, "images": 3, "notes": ["one"]}

    def training(self, canceled=lambda: False):
        self.looks += 1
        if self.watchError is not None:
            raise self.watchError
        return self.now

    def stop(self, canceled=lambda: False):
        self._do(canceled, "stop")
        self.now = Training(STOPPED, "student", step=3, steps=40)
        return True

    def activate(self, model, version, canceled=lambda: False):
        self._do(canceled, "activate", model, version)
        self.active = version

    def rollBack(self, model, canceled=lambda: False):
        self._do(canceled, "rollBack", model)
        self.active = BUILT_IN

    def delete(self, model, version, canceled=lambda: False):
        self._do(canceled, "delete", model, version)
        self.names.remove(version)

    def picture(self, model, version, name, canceled=lambda: False):
        self._do(canceled, "picture", model, version, name)
        return PNG

    def _do(self, canceled, *call):
        self.calls.append(call)
        while not self.go.wait(0.001):
            if canceled():
                raise Canceled()
        if self.error is not None:
            raise self.error

    def asked(self, what):
        """The arguments of the calls of a name."""
        return [call[1:] for call in self.calls if call[0] == what]

"""The MONAI Label app of MedDenoise: wiring only."""

import argparse
import json
import logging
import sys
from pathlib import Path

_APP = Path(__file__).resolve().parent
sys.path += [str(_APP), str(_APP.parents[1] / "models")]  # a spawned worker has neither

from lib.infer import DenoiseTask
from lib.scoring import Score
from lib.strategy import NextImage
from lib.train import SiteTraining
from monailabel.interfaces.app import MONAILabelApp

from meddenoise import __version__, weights
from meddenoise.server.batch import BatchTask
from meddenoise.server.checks import check_image, check_model
from meddenoise.server.datastore import PacsDatastore, studies_folder
from meddenoise.server.learning import next_sample
from meddenoise.server.measures import METHODS
from meddenoise.server.models import POOL
from meddenoise.server.pacs import cache_folder, pacs_of
from meddenoise.server.problems import http_errors
from meddenoise.server.strategies import at_random, first, noisiest
from meddenoise.server.train_plan import recipes


class MedDenoiseApp(MONAILabelApp):
    """Serves every published model; the image that comes back is in the geometry of the one that was sent."""

    def __init__(self, app_dir, studies, conf):
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="MedDenoise",
            description="Takes the noise out of CT, MR, PET and X-ray images. Research use, not a medical device.",
            version=__version__,
            labels=["denoised"],  # MONAI Label's clients expect an app to have some; the models have none
        )
        self._auto_update_scoring = False  # it would start a new Python process at every start and every next sample

    def init_datastore(self):
        """A studies folder, or a DICOMweb address."""
        return self.init_remote_datastore() if "://" in self.studies else studies_folder(self.studies)

    def init_remote_datastore(self):
        """The PACS, without what MONAI Label would download for DICOM SEG."""
        return PacsDatastore(pacs_of(self.studies), cache_folder())

    def init_infers(self):
        """One task per model, published or the site's own; first the one that clients are to offer first."""
        names = sorted(weights.available(), key=lambda name: name != "student")
        return {name: DenoiseTask(name, POOL, self.datastore()) for name in names}

    def init_trainers(self):
        """One task per recipe that a site can train."""
        return {name: SiteTraining(name) for name in recipes()}

    def init_strategies(self):
        """How the next image is chosen."""
        choices = {"first": first, "random": at_random, "noisiest": noisiest}
        return {name: NextImage(name, choose) for name, choose in choices.items()}

    def init_scoring_methods(self):
        """What is told about each image."""
        return {method.name: Score(method) for method in METHODS}

    def init_batch_infer(self):
        """How many images are denoised by one request."""
        return BatchTask()

    def models(self):
        """Names of the models that there are now, those that cannot be used included."""
        if set(weights.available()) != set(self._infers):
            self._infers = self.init_infers()  # a new one: another thread may be going through the old one
        return set(self._infers)

    def info(self):
        """MONAI Label's description of the app, and why a model that should be there is not."""
        problems = {name: POOL.problem(name) for name in sorted(self.models())}
        return {**super().info(), "problems": {name: why for name, why in problems.items() if why}}

    def next_sample(self, request):
        """The image to go on with."""
        return next_sample(self, request)

    def infer(self, request, datastore=None):
        """Denoise one image; what is wrong with a request goes to the client in a sentence."""
        with http_errors():
            check_model(request.get("model"), self.models())
            check_image(request.get("image"), datastore or self.datastore(), paths=True)
            if isinstance(self.datastore(), PacsDatastore) and request.pop("save_label", False):
                request["store"] = True  # what a label is to a folder
            request["label_tag"] = f"denoised_{request['model']}"  # not the client's: it names a folder
            return super().infer(request, datastore)


def main():
    """Run a task over a studies folder, as MONAI Label's sample apps do; 1 where an image failed."""
    parser = argparse.ArgumentParser(description="Denoise every image of a studies folder or of a PACS.")
    parser.add_argument("-s", "--studies", required=True, help="folder of images, or DICOMweb address of a PACS")
    parser.add_argument("-m", "--model", default="student", choices=weights.available(), help="default: student")
    parser.add_argument("-t", "--test", default="batch_infer", choices=["batch_infer"], help="the task")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    app = MedDenoiseApp(str(_APP), arguments.studies, {})
    result = app.batch_infer({"model": arguments.model, "device": arguments.device, "multi_gpu": False})
    print(json.dumps(result, indent=2))
    return 1 if any("error" in answer for answer in result.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

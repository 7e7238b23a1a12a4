"""What an administrator may ask of a training, checked once before anything is read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast, get_args

import torch

from meddenoise.errors import OptionError
from meddenoise.server.values import choice, number, switch, text, whole
from meddenoise.volume import MODALITIES, Modality

Switch = Literal["auto", "on", "off"]
OTHERS = {"model", "client_id", "local_rank", "name", "bundle_path"}
"""Keys of a request that are no options of ours: MONAI Label and its clients put them there."""
SYNONYMS = {"max_epochs": "epochs", "train_batch_size": "batch"}
"""MONAI Label's names for some of ours."""
PATCH_MULTIPLE = 16
STUDENT, LADDER = "student", ("distil", "adapt_teacher", "refine", "prune")
"""The options that one recipe alone has."""


@dataclass(frozen=True)
class TrainOptions:
    """One training's options, valid by construction.

    The length is that of the first of ``steps``, ``epochs`` and ``minutes`` that is not 0.

    Attributes:
        minutes: How long the training and the comparison after it may take, about; the number of steps follows from
            how long one takes here.
        epochs: Each shows as many patches as there are slices to train on.
        steps: Steps of the optimizer.
        learning_rate: Highest rate; 0 for a fifth of that with which the recipe trains a fresh network.
        patch: Side of a patch in pixels, a multiple of 16; 0 for the recipe's.
        batch: Patches a step; 0 for the recipe's. It is halved where a GPU's memory does not suffice.
        patience: Validations on held-back patients without improvement after which the training ends; 0 for never.
        noise_low: Least strength of the noise that is made, as a share of the usual; only for images alone.
        noise_high: Largest strength.
        self_supervised: Whether noisy images alone are learned from as they are; "auto" decides by their noise.
        modality: Of the images to train on; None for all.
        patient_from: Text that ends the patient's name in an image's id, such as "_"; "" for the patient that DICOM
            says, or an id a patient where there is none. What was told with an upload counts before both.
        clean_series: Words in the description of those series of a PACS that are the clean partners, in the same study
            and place, of the others; "" for none.
        max_images: Most images to train on; more are thinned out evenly.
        skip_unreadable: Whether images that cannot be used are passed over rather than refused.
        device: "auto", "cpu" or "cuda".
        gpus: "all", or numbers such as "0,1".
        distil: Whether the student learns from the teacher, is refined, folded and pruned; "auto" does so on a GPU
            where there is a teacher of version 1 or later. Without, it is trained as it is. Student only, as are the
            three that follow.
        adapt_teacher: Whether the teacher is trained on the images first, where there is distillation.
        refine: Whether there is a refinement after it, and a cooldown at the end.
        prune: Whether filters that are hardly needed are taken out after it.
        mlflow: Whether MLflow is told too; where no MLFLOW_TRACKING_URI is set, in a file of the trainings' folder.
        publish: Whether a better model is served from then on; else it is only kept.
        seed: Of batches and noise.
    """

    minutes: float = 20.0
    epochs: int = 0
    steps: int = 0
    learning_rate: float = 0.0
    patch: int = 0
    batch: int = 0
    patience: int = 0
    noise_low: float = 1.0
    noise_high: float = 1.0
    self_supervised: Switch = "auto"
    modality: Modality | None = None
    patient_from: str = ""
    clean_series: str = ""
    max_images: int = 100
    skip_unreadable: bool = False
    device: str = "auto"
    gpus: str = "all"
    distil: Switch = "auto"
    adapt_teacher: bool = True
    refine: bool = True
    prune: bool = True
    mlflow: bool = False
    publish: bool = True
    seed: int = 0

    @classmethod
    def from_request(cls, request: Mapping[str, Any], recipe: str) -> TrainOptions:
        """Read a recipe's options out of a MONAI Label request.

        Raises:
            OptionError: A key is unknown, or a value is of the wrong type or not among those allowed.
        """
        request = {SYNONYMS.get(key, key): value for key, value in request.items() if key not in OTHERS}
        known = [field.name for field in fields(cls) if recipe == STUDENT or field.name not in LADDER]
        if unknown := sorted(set(request) - set(known)):
            raise OptionError(
                f"the training of {recipe} has no option {unknown[0][:60]!r}; its options are {', '.join(known)}"
            )
        modality = choice(request, "modality", ("auto", *MODALITIES))
        options = cls(
            minutes=number(request, "minutes", cls.minutes, low=0.0, high=10_000.0),
            epochs=whole(request, "epochs", cls.epochs, low=0),
            steps=whole(request, "steps", cls.steps, low=0),
            learning_rate=number(request, "learning_rate", cls.learning_rate, low=0.0, high=0.1),
            patch=whole(request, "patch", cls.patch, low=0, high=1024),
            batch=whole(request, "batch", cls.batch, low=0, high=4096),
            patience=whole(request, "patience", cls.patience, low=0),
            noise_low=number(request, "noise_low", cls.noise_low, low=0.01, high=10.0),
            noise_high=number(request, "noise_high", cls.noise_high, low=0.01, high=10.0),
            self_supervised=cast(Switch, choice(request, "self_supervised", get_args(Switch))),
            modality=None if modality == "auto" else cast(Modality, modality),
            patient_from=text(request, "patient_from", cls.patient_from),
            clean_series=text(request, "clean_series", cls.clean_series),
            max_images=whole(request, "max_images", cls.max_images, low=2),
            skip_unreadable=switch(request, "skip_unreadable"),
            device=choice(request, "device", ("auto", "cpu", "cuda")),
            gpus=_gpus(request),
            distil=cast(Switch, choice(request, "distil", get_args(Switch))),
            adapt_teacher=switch(request, "adapt_teacher", default=cls.adapt_teacher),
            refine=switch(request, "refine", default=cls.refine),
            prune=switch(request, "prune", default=cls.prune),
            mlflow=switch(request, "mlflow"),
            publish=switch(request, "publish", default=cls.publish),
            seed=whole(request, "seed", cls.seed, low=0, high=2**31),
        )
        options.check()
        return options

    def check(self) -> None:
        """Raise OptionError where options do not go together."""
        if not (self.steps or self.epochs or self.minutes):
            raise OptionError("a training needs a length: give minutes, epochs or steps above 0")
        if self.patch % PATCH_MULTIPLE:
            raise OptionError(f"patch must be a multiple of {PATCH_MULTIPLE}, got {self.patch}")
        if self.noise_low > self.noise_high:
            raise OptionError(f"noise_low must be at most noise_high, got {self.noise_low:g} and {self.noise_high:g}")

    def facts(self) -> dict[str, Any]:
        """The options as JSON."""
        return asdict(self)


def shown_to_clients(recipe: str) -> dict[str, Any]:
    """A recipe's options as MONAI Label lists them in ``/info``: a list is a choice, its first entry the default."""
    shown = asdict(TrainOptions())
    lists = {
        "self_supervised": list(get_args(Switch)),
        "distil": list(get_args(Switch)),
        "modality": ["auto", *MODALITIES],
        "device": ["auto", "cpu", *(["cuda"] if torch.cuda.is_available() else [])],
    }
    left_out = () if recipe == STUDENT else LADDER
    return {key: lists.get(key, value) for key, value in shown.items() if key not in left_out}


def explained(recipe: str) -> dict[str, str]:
    """What a recipe's options mean, for clients that show it: in the words of TrainOptions."""
    said: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(TrainOptions) or "").partition("Attributes:\n")[2].splitlines():
        found = re.fullmatch(r" {4}(\w+): (.*)", line)
        name, text = found.groups() if found else (name, line.strip())
        said[name] = f"{said.get(name, '')} {text}".strip()
    return {key: said[key] for key in shown_to_clients(recipe) if key in said}


def _gpus(request: Mapping[str, Any]) -> str:
    named = text(request, "gpus", "all").replace(" ", "")
    if named != "all" and not all(part.isdecimal() for part in named.split(",")):
        raise OptionError(f'gpus must be "all" or numbers such as "0,1", got {named[:60]!r}')
    return named

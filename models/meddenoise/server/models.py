"""The loaded models of this process: each loaded once per device, in the version that is active when it is asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from meddenoise import weights
from meddenoise.errors import ModelError
from meddenoise.inference import Denoiser
from meddenoise.inference.device import choose_device

logger = logging.getLogger(__name__)

Load = Callable[[str, str], Denoiser]
Checksum = Callable[[str], str]


def _load(name: str, device: str) -> Denoiser:
    return Denoiser.load(name, device=device)


class ModelPool:
    """Denoisers by name and device, loaded on first use and again when other weights count. For several threads.

    Whoever got a denoiser keeps it to the end of the work, also where another version is activated meanwhile; the next
    to ask gets that one. The old one's memory is free when nobody works with it any more.

    Attributes:
        load: Called as load(name, device); replaceable so that the pool can be tested without weights.
        checksum: Called as checksum(name): that of the weights that count now.
    """

    def __init__(self, load: Load = _load, checksum: Checksum = weights.checksum) -> None:
        self.load, self.checksum = load, checksum
        self._loaded: dict[tuple[str, str], tuple[str, Denoiser]] = {}
        self._reported: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, name: str, device: str = "auto") -> Denoiser:
        """The model on the device, in its active version.

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        device = str(choose_device(device))  # so that "auto" and what it stands for are one model
        with self._lock:  # two first requests must not load twice
            checksum = self.checksum(name)  # before loading: should it change meanwhile, the next one loads again
            if self._loaded.get((name, device), ("", None))[0] != checksum:
                self._loaded[name, device] = checksum, self.load(name, device)
            return self._loaded[name, device][1]

    def problem(self, name: str) -> str | None:
        """Why the model cannot be used, or None where it can. A changed reason is logged once."""
        try:
            self.get(name)
        except ModelError as error:
            if self._reported.get(name) != str(error):
                self._reported[name] = str(error)
                logger.error("model %s is not served: %s", name, error)
            return str(error)
        self._reported.pop(name, None)
        return None


POOL = ModelPool()

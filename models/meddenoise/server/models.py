"""The loaded models of this process: each loaded once per device, and never one whose weights do not verify."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from meddenoise.errors import ModelError
from meddenoise.inference import Denoiser
from meddenoise.inference.device import choose_device

logger = logging.getLogger(__name__)

Load = Callable[[str, str], Denoiser]


def _load(name: str, device: str) -> Denoiser:
    return Denoiser.load(name, device=device)


class ModelPool:
    """Denoisers by name and device, loaded on first use. Safe to call from several threads.

    Attributes:
        load: Called as load(name, device); replaceable so that the pool can be tested without weights.
    """

    def __init__(self, load: Load = _load) -> None:
        self.load = load
        self._loaded: dict[tuple[str, str], Denoiser] = {}
        self._reported: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, name: str, device: str = "auto") -> Denoiser:
        """The model on the device.

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        device = str(choose_device(device))  # so that "auto" and what it stands for are one model
        with self._lock:  # two first requests must not load twice
            if (name, device) not in self._loaded:
                self._loaded[name, device] = self.load(name, device)
            return self._loaded[name, device]

    def forget(self, name: str) -> None:
        """Load the model anew when it is next asked for: its weights were replaced or taken away."""
        with self._lock:
            for key in [key for key in self._loaded if key[0] == name]:
                del self._loaded[key]

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

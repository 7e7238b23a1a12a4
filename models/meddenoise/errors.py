"""The errors MedDenoise raises on purpose; each message says what was wrong, with the value, and the way out.

MedDenoiseError
├── InputError            the file or image given cannot be denoised as it is
│   └── GeometryError     its slices or axes do not form the grid that was asked for
├── OutputError           the result cannot be written where or how it was asked for
├── OptionError           an option, or a combination of options, is not valid
├── ModelError            a model is unknown, missing or damaged
├── TrainingError         a training cannot go on as it is
└── ServiceError          a server could not be started or did not answer
"""


class MedDenoiseError(Exception):
    """Base of every error raised on purpose; catching it catches all of them and nothing else."""


class InputError(MedDenoiseError):
    """The file or image given cannot be denoised as it is."""


class GeometryError(InputError):
    """Slices or axes do not form the regular grid that was asked for."""


class OutputError(MedDenoiseError):
    """The result cannot be written where or how it was asked for."""


class OptionError(MedDenoiseError, ValueError):
    """An option, or a combination of options, is not valid."""


class ModelError(MedDenoiseError):
    """A model is unknown, or its weights are missing or damaged."""


class TrainingError(MedDenoiseError):
    """A training cannot go on as it is."""


class ServiceError(MedDenoiseError):
    """A server could not be started or did not answer."""

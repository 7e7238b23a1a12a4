"""The longer texts of the panel, in one place and translatable."""

from __future__ import annotations

import logging
from typing import Any

from MedDenoiseLib import Links
from MedDenoiseLib.Errors import Canceled, ConsentMissing, MedDenoiseError
from MedDenoiseLib.I18n import tr as _


def help() -> str:
    """What the module is for; shown under Help."""
    return _(
        "<p>Takes the noise out of CT, MR, PET and X-ray images by a MedDenoise server that you run or choose. The"
        " image is sent to that server and to nowhere else, after you agreed. The input is never changed; original,"
        " denoised and difference are shown side by side.</p><p><b>Research use, not a medical device.</b> Denoising"
        " cannot add information: structure in the difference is structure that was taken away.</p>"
        '<p><a href="{documentation}">Documentation</a>, <a href="{server}">how to run a server</a>,'
        ' <a href="{issues}">report a problem</a>.</p>'
    ).format(documentation=Links.DOCUMENTATION, server=Links.SERVER_GUIDE, issues=Links.ISSUES)


def acknowledgement() -> str:
    """Who made it and on what it builds; shown under Acknowledgement."""
    return _(
        "Developed by the MedDenoise developers, Apache License 2.0. The server builds on MONAI Label. Please cite"
        ' MedDenoise as told in its <a href="{documentation}">documentation</a>, and 3D Slicer.'
    ).format(documentation=Links.DOCUMENTATION)


def consentQuestion(host: str, local: bool, unencrypted: bool = False) -> str:
    """Asked once for each host, before anything is sent there; ``unencrypted``: by http to another computer."""
    where = _("This is your own computer.") if local else _("This is another computer.")
    if unencrypted:
        where += "\n\n" + notEncrypted()
    return _(
        "MedDenoise will send to {host}:\n\n- the voxels, spacing and orientation of each volume that you denoise\n"
        "- the chosen model, modality and options, and the token if you gave one\n\n"
        "Never sent: patient names, node names, file paths or DICOM tags. Faces and burned-in text are part of the"
        " voxels.\n\n{where}\n\nDo you agree to send these to {host}?"
    ).format(host=host, where=where)


def notEncrypted() -> str:
    """Warns of http to another computer."""
    return _(
        "http to another computer is not encrypted: whoever can listen on the network can read images and token."
        " Ask for an address with https://."
    )


def connected(info: Any) -> str:
    """How a server answered."""
    models = _("1 model") if len(info.models) == 1 else _("{count} models").format(count=len(info.models))
    said = _("Connected to {name} {version}: {models}.").format(name=info.name, version=info.version, models=models)
    return "\n".join([said, *(f"{name}: {problem}" for name, problem in info.problems)])


def ready() -> str:
    """What the button does."""
    return _("Sends the volume to the server and shows the result beside it.")


def ofError(error: Exception) -> str:
    """What went wrong and the way out, in plain words."""
    if isinstance(error, Canceled):
        return _("Canceled. Nothing was changed.")
    if isinstance(error, ConsentMissing):
        return _("Nothing was sent, because you did not agree.")
    if isinstance(error, MedDenoiseError):
        return f"{error} {error.advice}".strip()
    return _("Something unexpected went wrong: {error}. Please report it: {issues}").format(
        error=f"{type(error).__name__}: {error}", issues=Links.ISSUES
    )


def inWords(error: Exception) -> str:
    """The same; what nobody foresaw goes into the application's log with its traceback too."""
    if not isinstance(error, MedDenoiseError):
        logging.error("MedDenoise failed", exc_info=error)
    return ofError(error)


def ofProgress(progress: Any) -> str:
    """The stage and how far it is."""
    stages = {
        "sending": _("Sending"),
        "waiting": _("Waiting"),
        "denoising": _("Denoising"),
        "receiving": _("Receiving"),
    }
    stage = stages.get(progress.stage, progress.stage)
    if progress.stage == "denoising" and progress.text[:1].isdigit():
        return _("Denoising slice {count}").format(count=progress.text)
    return f"{stage}: {progress.text}" if progress.text else f"{stage}…"

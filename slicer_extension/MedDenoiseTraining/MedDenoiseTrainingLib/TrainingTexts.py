"""The longer texts of the page, in one place and translatable."""

from __future__ import annotations

from typing import Any

from MedDenoiseLib import Links, Texts
from MedDenoiseLib.I18n import tr as _
from MedDenoiseTrainingLib.Training import DONE, STOPPED


def help() -> str:
    """What the module is for; shown under Help."""
    return _(
        "<p>For whoever runs a MedDenoise server: stores images on it, with or without their clean partners, trains its"
        " networks further on them, and chooses which version of a network is used. A trained network replaces the one"
        " in use only if it is better on patients that it was not trained on.</p><p><b>Research use, not a medical"
        " device.</b> Images that are uploaded stay on the server until its owner removes them.</p>"
        '<p><a href="{documentation}">Documentation</a>, <a href="{server}">how to run a server</a>,'
        ' <a href="{issues}">report a problem</a>.</p>'
    ).format(documentation=Links.DOCUMENTATION, server=Links.SERVER_GUIDE, issues=Links.ISSUES)


def consentQuestion(host: str, local: bool, unencrypted: bool = False) -> str:
    """Asked once for each host, before anything is sent there; ``unencrypted``: by http to another computer."""
    where = _("This is your own computer.") if local else _("This is another computer.")
    if unencrypted:
        where += "\n\n" + Texts.notEncrypted()
    return _(
        "MedDenoise Training will send to {host}:\n\n- the voxels, spacing and orientation of each volume and partner"
        " that you upload, with its modality and the names and pseudonyms that you enter\n- the options of trainings,"
        " and the token if you gave one\n\nImages that you upload STAY on {host}, and networks are trained on them,"
        " until its owner removes them.\n\nNever sent: patient names, node names, file paths or DICOM tags. Faces and"
        " burned-in text are part of the voxels.\n\n{where}\n\nDo you agree to send these to {host}?"
    ).format(host=host, where=where)


def connected(overview: Any) -> str:
    """How a server answered."""
    server = overview.server
    said = _("Connected to {name} {version}. Its datastore has {images}, {pairs} of them with a clean partner.").format(
        name=server.name, version=server.version, images=counted(overview.images), pairs=overview.pairs
    )
    return "\n".join([said, *(f"{name}: {problem}" for name, problem in server.problems)])


def counted(images: int) -> str:
    """A number of images."""
    return _("1 image") if images == 1 else _("{count} images").format(count=images)


def stored(name: str, partner: bool) -> str:
    """What became of an upload."""
    what = _("Stored as {name}, with its clean partner.") if partner else _("Stored as {name}.")
    return what.format(name=name)


def started(data: dict[str, Any]) -> str:
    """What a training that was just started learns from."""
    said = _("Learns from {what} of {patients} patients, {held} of them only to compare on ({images}).").format(
        what=data.get("learns_from", "?"),
        patients=data.get("patients", "?"),
        held=data.get("held_back_patients", "?"),
        images=counted(data.get("images", 0)),
    )
    notes = [f"⚠ {note}" for note in data.get("notes") or []]
    return "\n".join(
        [said, *([_("Goes on with a training that was not finished.")] if data.get("resumed") else []), *notes]
    )


def ofTraining(training: Any) -> str:
    """How far a training is, or how the latest ended."""
    if training is None:
        return _("Nothing was trained here yet.")
    if training.running:
        return _running(training)
    title = training.recipe.replace("_", " ").capitalize()
    when = " " + training.ended if training.ended else ""
    if training.state == DONE:
        told = _("{title} ended{when}: {verdict}.").format(
            title=title, when=when, verdict=training.verdict.rstrip(".") or _("done")
        )
        published = _("It is used from now on as version {version}.").format(version=training.published)
        kept = _("The version in use stays.")
        return f"{told} {published if training.published else kept}"
    if training.state == STOPPED:
        return _("{title} was stopped{when}{step}. With the same images and options it goes on from there.").format(
            title=title, when=when, step=_afterStep(training)
        )
    return _("{title} failed{when}: {problem}.").format(title=title, when=when, problem=training.problem.rstrip("."))


def _running(training: Any) -> str:
    parts = [f"{training.recipe.replace('_', ' ').capitalize()}: {training.stage or _('starting')}"]
    if training.steps:
        parts.append(_("step {step} of {steps}").format(step=training.step, steps=training.steps))
    parts += [f"{_loss(name, len(training.losses))} {value:.4g}" for name, value in training.losses.items()]
    if training.secondsLeft is not None:
        parts.append(_("about {time} left").format(time=duration(training.secondsLeft)))
    return ", ".join(parts)


def _loss(name: str, count: int) -> str:
    return _("loss") if count == 1 else _("loss ({name})").format(name=name)


def _afterStep(training: Any) -> str:
    return _(" after step {step} of {steps}").format(step=training.step, steps=training.steps) if training.steps else ""


def duration(seconds: float) -> str:
    """So many seconds, minutes or hours, as people say it."""
    if seconds < 90:
        return _("{count} s").format(count=round(seconds))
    minutes = round(seconds / 60)
    return _("{count} min").format(count=minutes) if minutes < 90 else _("{count:.1f} h").format(count=minutes / 60)


def percent(change: float | None, uncertainty: float | None = None) -> str:
    """A relative change; "" for None."""
    if change is None:
        return ""
    return f"{100 * change:+.1f} %" + (f" ± {100 * uncertainty:.1f}" if uncertainty is not None else "")


def deleteQuestion(model: str, version: str, host: str) -> str:
    """Asked before a version is deleted."""
    return _("Delete version {version} of {model} from {host}? It cannot be brought back.").format(
        version=version, model=model, host=host
    )

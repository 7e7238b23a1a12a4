"""Two models on the same images, and the rule by which one is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from meddenoise.comparison.cases import Case, Run, built_in_cases, runs_of
from meddenoise.comparison.errors import ReferenceNoise, reference_noise
from meddenoise.errors import InputError
from meddenoise.inference import Denoiser
from meddenoise.metrics import rmse
from meddenoise.volume import Volume

Progress = Callable[[int, int], None]
STUDENT_T = (12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27)
"""Half width of a 95 % interval in standard errors for 2 to 10 values; the last one is used for more, too."""
PATIENTS = 5
"""From so many patients on, each counts as one measurement; with fewer, each run of neighbouring slices does."""
LEAST_SQUARE = 0.01
"""Of squared errors, as a share of the noise's. No model comes nearer to the truth than a tenth of the noise; a smaller
error, which can be negative, is a reference's noise that was taken for larger than it is, and is taken for this."""


@dataclass(frozen=True)
class Rule:
    """When a candidate is better; every condition must hold.

    Attributes:
        tolerance: On no phantom is the error larger than that of the better of running and built-in model by more.
        worst: For no patient does the error grow by more.
        shift_hu: In CT, the mean of soft tissue moves by no more, in HU, or by no more than with the running model.
        shift: In others, the mean of the body is off by no more, as a share of the noise, or as with the running model.
        partners_count_as_they_are: Whether a reference's own noise belongs to what is wanted; else it is taken off.

    And the error on the site's patients is smaller, by more than the noise of that measurement: the 95 % interval of
    the mean change lies below 0.
    """

    tolerance: float = 0.05
    worst: float = 0.05
    shift_hu: float = 1.0
    shift: float = 0.05
    partners_count_as_they_are: bool = False


@dataclass(frozen=True)
class Score:
    """One model on one case.

    Attributes:
        error: Against the truth, the reference's noise taken off, over that of the noisy image: 1 is no gain, 0 is all.
        ratio: Root mean square error to the reference over that of the noisy image.
        shift: Mean of denoised minus noisy (CT) or minus reference (others), in the image's unit.
    """

    error: float
    ratio: float
    shift: float


@dataclass(frozen=True)
class Judged:
    """Both models on one case.

    Attributes:
        name: "patient 1" and so on, or the phantom's; never that of a file.
        modality: Of the image.
        kind: "pair", "made noise" or "phantom".
        units: Of the shift.
        reference: What its reference's noise was found to be.
        candidate: The candidate's score.
        running: The running model's.
        change: Relative change of the error from the running model to the candidate, by runs of neighbouring slices.
        limit: Largest shift that is allowed.
    """

    name: str
    modality: str
    kind: str
    units: str
    reference: ReferenceNoise
    candidate: Score
    running: Score
    change: tuple[float, ...]
    limit: float

    @property
    def mean_change(self) -> float:
        """Mean of ``change``."""
        return float(np.mean(self.change))


@dataclass(frozen=True)
class Shown:
    """What a picture of a case needs: the middle run before, and denoised by both."""

    name: str
    noisy: Volume
    running: Volume
    candidate: Volume


@dataclass(frozen=True)
class Comparison:
    """What was measured, and whether the candidate is better.

    Attributes:
        candidate: Its "name", "version" and "sha256".
        running: That of the running model.
        site: The site's patients.
        built_in: The phantoms.
        change: Mean relative change of the error over the site's patients; negative is better.
        uncertainty: Half the 95 % interval of that mean; infinite for a single measurement.
        reasons: Why the candidate is not better; empty where it is.
        rule: What it was judged by.
        shown: For the pictures.
    """

    candidate: dict[str, str]
    running: dict[str, str]
    site: tuple[Judged, ...]
    built_in: tuple[Judged, ...]
    change: float
    uncertainty: float
    reasons: tuple[str, ...]
    rule: Rule
    shown: tuple[Shown, ...] = field(repr=False, default=())

    @property
    def better(self) -> bool:
        """Whether the candidate may take the running model's place."""
        return not self.reasons


def compare(
    candidate: Denoiser,
    running: Denoiser,
    site: Sequence[Case],
    built_in: Sequence[Case] | None = None,
    *,
    installed: Denoiser | None = None,
    rule: Rule | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Denoise the same images with both models, and judge.

    Args:
        candidate: What might take the running model's place.
        running: What is served.
        site: Patients of the site that neither was trained on.
        built_in: Phantoms; by default those of the running model's modalities, without those that the candidate leaves
            to another version.
        installed: The built-in version; with it, small losses on the phantoms cannot add up from version to version.
        rule: When a candidate is better; the default one if None.
        progress: Called as progress(cases_done, cases_total); what it raises ends the work.

    Raises:
        InputError: No patient, or an image that nothing can be measured on.
    """
    if not site:
        raise InputError("no held-back patient to compare on; a site needs images of at least two patients")
    rule = rule or Rule()
    own = [modality for modality in running.card.modalities if modality not in candidate.card.elsewhere]
    phantoms = built_in_cases(own) if built_in is None else list(built_in)
    judged, shown = [], []
    for number, case in enumerate([*site, *phantoms]):
        is_site = number < len(site)
        name = f"patient {number + 1}" if is_site else f"{case.noisy.modality} phantom"
        others = [running] if is_site or installed is None else [running, installed]
        one, picture = _judge(name, case, candidate, others, rule)
        judged.append(one)
        shown.append(picture)
        if progress is not None:
            progress(number + 1, len(site) + len(phantoms))
    ours, theirs = tuple(judged[: len(site)]), tuple(judged[len(site) :])
    change, uncertainty = _overall(ours)
    reasons = [*_site_reasons(ours, change, uncertainty, rule), *_built_in_reasons(theirs, rule)]
    return Comparison(
        candidate=_identity(candidate),
        running=_identity(running),
        site=ours,
        built_in=theirs,
        change=change,
        uncertainty=uncertainty,
        reasons=tuple(reasons),
        rule=rule,
        shown=tuple(shown),
    )


def _identity(model: Denoiser) -> dict[str, str]:
    return {"name": model.card.name, "version": model.card.version, "sha256": model.card.sha256}


def _judge(name: str, case: Case, candidate: Denoiser, others: Sequence[Denoiser], rule: Rule) -> tuple[Judged, Shown]:
    """One case; of several others, the best one's error is what counts."""
    runs = runs_of(case)
    if not runs:
        raise InputError(f"{name}: nothing but background in the held-back image; leave it out")
    if all((run.noisy.array == run.reference).all() for run in runs):
        raise InputError(f"{name}: the image and its partner are the same; leave it out")
    exact = ReferenceNoise(0.0, shared=False)
    as_it_is = case.exact or (rule.partners_count_as_they_are and case.reference is not None)
    noise = exact if as_it_is else reference_noise(runs)
    made = [[model(run.noisy).volume for run in runs] for model in (candidate, *others)]
    squares = [[_square(noise, run, one) for run, one in zip(runs, found, strict=True)] for found in made]
    best = min(range(1, len(made)), key=lambda k: float(np.mean(squares[k])))
    after, before = (np.maximum(squares[k], LEAST_SQUARE) for k in (0, best))
    # Half the change of a square is, where it is small, the change of its root.
    change = tuple(((after - before) / (2 * before.mean())).tolist())
    old, new = (_score(runs, made[k], squares[k]) for k in (best, 0))
    judged = Judged(
        name=name,
        modality=case.noisy.modality,
        kind="phantom" if case.exact else "pair" if case.reference is not None else "made noise",
        units=case.noisy.header.units or "grey levels",
        reference=noise,
        candidate=new,
        running=old,
        change=change,
        limit=max(_limit(runs, rule), abs(old.shift)),
    )
    middle = len(runs) // 2
    return judged, Shown(name, runs[middle].noisy, made[1][middle], made[0][middle])


def _limit(runs: Sequence[Run], rule: Rule) -> float:
    """The shift that is allowed whatever the running model's is."""
    if runs[0].noisy.header.units == "HU":
        return rule.shift_hu
    return rule.shift * float(np.sqrt(np.mean([_rmse(run, run.noisy) ** 2 for run in runs])))


def _rmse(run: Run, image: Volume) -> float:
    return rmse(image.array.astype(np.float64), run.reference, mask=run.body)


def _square(noise: ReferenceNoise, run: Run, denoised: Volume) -> float:
    body = run.body
    return noise.square(
        denoised.array[body].astype(np.float64), run.noisy.array[body].astype(np.float64), run.reference[body]
    )


def _score(runs: Sequence[Run], made: Sequence[Volume], squares: Sequence[float]) -> Score:
    after = np.mean([_rmse(run, one) ** 2 for run, one in zip(runs, made, strict=True)])
    before = np.mean([_rmse(run, run.noisy) ** 2 for run in runs])
    shifts = [float((one.array - _unshifted(run))[run.tissue].mean()) for run, one in zip(runs, made, strict=True)]
    error = float(np.sqrt(max(float(np.mean(squares)), 0.0)))
    return Score(error, float(np.sqrt(after / before)), float(np.mean(shifts)))


def _unshifted(run: Run) -> NDArray[np.float64]:
    """What the mean is not to be shifted from: noise of CT has none, that of others may."""
    return run.noisy.array.astype(np.float64) if run.noisy.header.units == "HU" else run.reference


def _overall(site: Sequence[Judged]) -> tuple[float, float]:
    """The mean change over the patients, and half of its 95 % interval."""
    by_patient = [one.mean_change for one in site]
    values = by_patient if len(site) >= PATIENTS else [value for one in site for value in one.change]
    if len(values) < 2:
        return float(np.mean(by_patient)), float("inf")
    quantile = STUDENT_T[min(len(values) - 2, len(STUDENT_T) - 1)]
    return float(np.mean(by_patient)), quantile * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))


def _site_reasons(site: Sequence[Judged], change: float, uncertainty: float, rule: Rule) -> list[str]:
    reasons = []
    if not np.isfinite(uncertainty):
        reasons.append("one run of slices is too little to tell whether it is better: hold back more images")
    elif change + uncertainty >= 0:
        how = "is not smaller" if change >= 0 else "is smaller by no more than the measurement is unsure of"
        reasons.append(f"on this site's images its error {how}: {change:+.1%} +/- {uncertainty:.1%}")
    for one in site:
        if one.mean_change > rule.worst:
            reasons.append(
                f"for {one.name} its error is larger by {one.mean_change:.1%} ({rule.worst:.0%} are allowed)"
            )
        if abs(one.candidate.shift) > one.limit:
            reasons.append(
                f"for {one.name} it shifts the mean by {one.candidate.shift:+.3g} {one.units} "
                f"({one.limit:.3g} are allowed)"
            )
    return reasons


def _built_in_reasons(built_in: Sequence[Judged], rule: Rule) -> list[str]:
    return [
        f"on the {one.name} its error is larger by {one.mean_change:.1%} ({rule.tolerance:.0%} are allowed)"
        for one in built_in
        if one.mean_change > rule.tolerance
    ]

"""Who may listen to a run: validation on held-back subjects, TensorBoard and MLflow, each where it is installed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from meddenoise import metrics
from meddenoise.training.patches import Sampler
from meddenoise.training.progress import Enough, Hook, Moment

VALIDATION_SEED = 1
RUN_ID = "mlflow_run"


def validation(
    sample: Sampler,
    denoise: Callable[[Mapping[str, nn.Module], Tensor], Tensor],
    *,
    every: int,
    batch: int = 16,
    device: str = "cpu",
) -> Hook:
    """PSNR and SSIM on the same patches each time, by MONAI's metrics where MONAI is installed, else by ours.

    Args:
        sample: Patches of subjects that are held back from training.
        denoise: Called with the running averages and noisy patches; network units in and out.
        every: Steps between validations; checkpoints in between are passed over. The last step is always validated.
        batch: How many patches.
        device: Where the networks are.
    """
    noisy, clean = sample(batch, torch.Generator().manual_seed(VALIDATION_SEED))
    score = _monai_scores if find_spec("monai") else _own_scores
    before = {f"validation.noisy.{k}": v for k, v in score(noisy, clean).items()}
    last = 0

    def hook(moment: Moment) -> Mapping[str, float]:
        nonlocal last
        if moment.step // every == last // every and moment.step != moment.steps:
            return {}
        last = moment.step
        with torch.inference_mode():
            denoised = denoise(moment.averages, noisy.to(device)).float().cpu()
        return {f"validation.{k}": v for k, v in score(denoised, clean).items()} | before

    return hook


def patience(validations: int) -> Hook:
    """Ends a training whose validation's PSNR has not risen for so many validations.

    It stands behind a validation among the hooks. Each of several trainings that follow one another is judged alone.
    """
    best, since = -math.inf, 0
    whose: Mapping[str, nn.Module] | None = None

    def hook(moment: Moment) -> Mapping[str, float]:
        nonlocal best, since, whose
        found = moment.figures.get("validation.psnr")
        if found is None:
            return {}
        if whose is not moment.averages:
            best, since, whose = -math.inf, 0, moment.averages
        best, since = (found, 0) if found > best else (best, since + 1)
        if since >= validations:
            raise Enough(f"no validation of the last {since} was better than {best:.3f} dB")
        return {}

    return hook


def _monai_scores(images: Tensor, clean: Tensor) -> dict[str, float]:
    from monai.metrics import PSNRMetric, SSIMMetric  # type: ignore[attr-defined]

    peak, structure = PSNRMetric(max_val=1.0), SSIMMetric(spatial_dims=2, data_range=1.0)
    found = {"psnr": peak(images, clean), "ssim": structure(images, clean)}
    return {name: float(torch.as_tensor(values).mean()) for name, values in found.items()}


def _own_scores(images: Tensor, clean: Tensor) -> dict[str, float]:
    pairs = list(zip(images, clean, strict=True))
    return {
        "psnr": sum(metrics.psnr(a, b, data_range=1.0) for a, b in pairs) / len(pairs),
        "ssim": sum(metrics.ssim(a, b, data_range=1.0) for a, b in pairs) / len(pairs),
    }


def installed_trackers(out: Path) -> list[Hook]:
    """TensorBoard where it is installed, and MLflow where it is installed and MLFLOW_TRACKING_URI says where to."""
    found: list[Hook] = []
    if find_spec("tensorboard"):
        found.append(_tensorboard(out))
    if find_spec("mlflow") and os.environ.get("MLFLOW_TRACKING_URI"):
        found.append(_mlflow(out))
    return found


def _tensorboard(out: Path) -> Hook:
    """Writes events to ``out``/tensorboard; a resumed run goes on in the same curves."""
    from torch.utils.tensorboard import SummaryWriter

    writer: SummaryWriter | None = None

    def hook(moment: Moment) -> Mapping[str, float]:
        nonlocal writer
        if writer is None:  # curves that a killed run drew beyond its checkpoint are replaced
            writer = SummaryWriter(out / "tensorboard", purge_step=moment.step)
        for name, value in moment.figures.items():
            writer.add_scalar(name, value, moment.step)
        writer.flush()
        return {}

    return hook


def _mlflow(out: Path) -> Hook:
    """Logs to the experiment "meddenoise"; the run's id is kept in ``out``, so that a resumed run goes on in it."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client, known = MlflowClient(), out / RUN_ID
    run_id = known.read_text() if known.exists() else ""

    def hook(moment: Moment) -> Mapping[str, float]:
        nonlocal run_id
        if not run_id:
            experiment = client.get_experiment_by_name("meddenoise")
            number = experiment.experiment_id if experiment else client.create_experiment("meddenoise")
            run_id = client.create_run(number, run_name=out.name).info.run_id
            known.write_text(run_id)
        client.log_batch(run_id, [Metric(k, v, 0, moment.step) for k, v in moment.figures.items()])
        if moment.step == moment.steps:
            client.set_terminated(run_id)
        return {}

    return hook

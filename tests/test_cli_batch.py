"""`meddenoise batch` as a user runs it: exit codes, what is told, and that nothing is lost when it is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from meddenoise import read_volume
from meddenoise.cli import main
from meddenoise.io import find_sources

JOURNAL, SUMMARY = "batch-journal.jsonl", "batch-summary.json"


def write(path, shape=(2, 32, 40), seed=0):
    noisy = np.clip(100 + 20 * np.random.default_rng(seed).normal(size=shape), 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(noisy.astype(np.int16 if len(shape) == 3 else np.uint8)), str(path))


def series(folder, slices=2):
    folder.mkdir(parents=True)
    uid = generate_uid()
    for index in range(slices):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        dataset.SeriesInstanceUID, dataset.InstanceNumber = uid, index + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient[2] = 5 * index
        dataset.save_as(folder / f"{index}.dcm")


@pytest.fixture
def studies(tmp_path):
    """A tree of four kinds of images."""
    folder = tmp_path / "studies"
    write(folder / "a.nrrd")
    write(folder / "deep" / "b.nii.gz", seed=1)
    write(folder / "deep" / "c.png", (32, 40), seed=2)
    series(folder / "study")
    return folder


def run(*arguments):
    return main(["batch", *(str(argument) for argument in arguments)])


def test_archive_is_denoised_and_a_second_run_skips_it(studies, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--studies", studies, "--model", "student", "--output", out, "--resume") == 0
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "a.nrrd", "deep/b.nii.gz", "deep/c.png", "study/0.dcm", "study/1.dcm", JOURNAL, SUMMARY,
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "left] " in said
    assert "4 denoised, 0 done before, 0 failed" in said
    assert run("--studies", studies, "--output", out) == 0
    assert "0 denoised, 4 done before, 0 failed" in capsys.readouterr().out


def test_results_are_those_of_denoise(studies, tmp_path):
    assert run("--studies", studies, "--output", tmp_path / "batch") == 0
    assert main(["denoise", str(studies / "a.nrrd"), str(studies / "study"), "-o", str(tmp_path / "one")]) == 0
    for name in ("a.nrrd", "study"):
        np.testing.assert_array_equal(
            read_volume(tmp_path / "batch" / name).array, read_volume(tmp_path / "one" / name).array
        )


def test_bad_studies_are_named_and_make_the_exit_code_1(studies, capsys):
    (studies / "bad.nrrd").write_text("bad")
    (studies / "study" / "bad.dcm").write_text("bad")
    assert run("--studies", studies) == 1
    captured = capsys.readouterr()
    assert f"{studies / 'bad.nrrd'}: cannot be read" in captured.err
    assert f"{studies / 'study' / 'bad.dcm'}: is not DICOM" in captured.err
    assert "4 denoised, 0 done before, 2 failed" in captured.out
    assert json.loads((studies / "labels" / "denoised_student" / SUMMARY).read_text())["failed"] == 2


def test_warnings_tell_apart_images_of_one_name(studies, capsys):
    write(studies / "again" / "a.nrrd", seed=3)
    assert run("--studies", studies) == 0
    said = capsys.readouterr().err.splitlines()
    for path in (studies / "a.nrrd", studies / "again" / "a.nrrd"):
        assert sum(line.startswith(f"meddenoise: {path}: the file states no modality") for line in said) == 1


def test_nothing_to_denoise_is_said(tmp_path, capsys):
    assert run("--studies", tmp_path) == 1
    assert "no image to denoise" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--studies", "gone"], 2, "gone does not exist"),
        (["--studies", "{}", "--model", "nothing"], 1, "unknown model"),
        (["--studies", "{}", "--strength", "2"], 2, "strength must be between 0 and 1"),
        (["--studies", "{}", "--output", "{}"], 2, "would replace an input"),
        (["--studies", "http://127.0.0.1:1/x", "{}"], 2, "one PACS at a time"),
        (["--studies", "{}", "--device", "tpu"], 2, "device must be"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_and_leaves_nothing(studies, capsys, arguments, code, reason):
    before = sorted(studies.rglob("*"))
    assert run(*(argument.format(studies) for argument in arguments)) == code
    assert reason in capsys.readouterr().err
    assert sorted(studies.rglob("*")) == before


def start(studies, out):
    command = [sys.executable, "-m", "meddenoise", "batch", "--studies", str(studies), "--output", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def results(out):
    """Every result by its name, read whole; what is half-written cannot be."""
    found = {}
    for source in find_sources([path for path in out.rglob("*") if path.suffix in (".nrrd", ".gz", ".png")])[0]:
        found[source.path.relative_to(out).as_posix()] = read_volume(source).array
    for folder in {path.parent for path in out.rglob("*.dcm")}:
        volume = read_volume(folder)
        assert len(volume.header.sources) == 8
        found[folder.relative_to(out).as_posix()] = volume.array
    return found


def done(out):
    journal = out / JOURNAL
    return journal.read_text().count('"size"') if journal.exists() else 0


@pytest.fixture
def many(tmp_path):
    """A dozen images that take a moment each."""
    folder = tmp_path / "many"
    for number in range(5):
        write(folder / f"{number}.nrrd", (8, 160, 160), seed=number)
        write(folder / "deep" / f"{number}.nii.gz", (8, 160, 160), seed=number)
    series(folder / "one", slices=8)
    series(folder / "two", slices=8)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_batch_that_is_ended_at_any_moment_loses_nothing_and_goes_on(many, tmp_path, how):
    with start(many, tmp_path / "whole") as process:
        assert process.wait() == 0, process.stderr.read()
    expected = results(tmp_path / "whole")
    assert len(expected) == 12
    out, chance, before = tmp_path / "out", random.Random(0), 0
    for wanted in (1, 4, 7):
        with start(many, out) as process:
            while done(out) < wanted and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.5))
            process.send_signal(how)
            process.communicate()
        assert process.returncode in (-signal.SIGKILL, 130)
        found = results(out)
        assert done(out) >= max(wanted, before)
        assert len(found) - done(out) <= 1  # written, and ended before that was remembered
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])
        before = done(out)
    with start(many, out) as process:
        said, _ = process.communicate()
    assert process.returncode == 0
    assert f"{12 - before} denoised, {before} done before, 0 failed" in said
    assert {name: array.tobytes() for name, array in results(out).items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    assert not list(out.rglob(".meddenoise-*"))

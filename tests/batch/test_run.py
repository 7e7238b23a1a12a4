"""A whole batch: run twice, interrupted, and gone on with."""

import json
import os
import threading

import pytest

from meddenoise.batch import BatchOptions, PlainEngine, Progress, find_items, run_batch
from meddenoise.batch.journal import JOURNAL
from meddenoise.batch.run import SUMMARY


@pytest.fixture
def run(archive, tmp_path, quick):
    """Run a batch over the archive; its summary and what it told."""

    def once(**options):
        items, skipped, folder = find_items([archive], tmp_path / "out", model="quick")
        chosen = BatchOptions(modality="MR", **options.pop("options", {}))
        told = []
        options.setdefault("tell", lambda outcome, progress: told.append((outcome, progress)))
        summary = run_batch(items, PlainEngine([quick]), folder, options=chosen, skipped_files=skipped, **options)
        return summary, told

    return once


def counts(summary):
    return tuple(summary.count(state) for state in ("done", "skipped", "failed"))


def results(tree, folder):
    return {name: found for name, found in tree(folder).items() if name not in (JOURNAL, SUMMARY)}


def test_second_run_skips_everything_and_touches_no_result(run, tree, tmp_path):
    assert counts(run()[0]) == (6, 0, 0)
    before = results(tree, tmp_path / "out")
    assert counts(run()[0]) == (0, 6, 0)
    assert results(tree, tmp_path / "out") == before
    assert len(before) == 7  # of which two are one series


def test_bad_items_are_named_and_passed_over(run, archive, tmp_path):
    for name in ("bad.nrrd", "deep/bad.nii.gz", "patient/bad.dcm"):
        (archive / name).write_bytes(b"bad")
    summary, told = run()
    assert counts(summary) == (6, 0, 3)
    written = json.loads((tmp_path / "out" / SUMMARY).read_text("utf-8"))
    bad = [item for item in written["items"] if item["state"] == "failed"]
    assert {item["input"] for item in bad} == {
        str(archive / n) for n in ("bad.nrrd", "deep/bad.nii.gz", "patient/bad.dcm")
    }
    assert all(item["input"] in item["reason"] for item in bad)
    assert len(told) == 9
    assert counts(run()[0]) == (0, 6, 3)  # they are tried again


def test_summary_says_what_was_made_of_what_and_how(run, archive, tmp_path, quick):
    (archive / "notes.txt").write_text("")
    run(options={"strength": 0.5})
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text("utf-8"))
    assert (summary["total"], summary["done"], summary["skipped"], summary["failed"]) == (6, 6, 0, 0)
    assert summary["complete"] is True
    assert summary["model"] == {"name": "quick", "version": "1.0.0", "sha256": quick.card.sha256}
    assert summary["options"] == {"modality": "MR", "strength": 0.5, "replace_nonfinite": None}
    assert summary["skipped_files"] == [f"{archive / 'notes.txt'}: skipped, not an image format"]
    by_input = {item["input"]: item for item in summary["items"]}
    assert by_input[str(archive / "a.nrrd")]["output"] == str(tmp_path / "out" / "a.nrrd")
    assert by_input[str(archive / "a.nrrd")]["figures"]["fraction_changed"] > 0


def test_only_what_changed_is_done_again(run, archive, make_image):
    run()
    make_image(archive / "deep" / "c.mha", seed=9)
    make_image(archive / "deep" / "new.nrrd")
    summary, told = run()
    assert counts(summary) == (2, 5, 0)
    assert {o.item.key for o, _ in told if o.state == "done"} == {"deep/c.mha", "deep/new.nrrd"}


def test_without_resume_everything_is_done_again(run):
    run()
    assert counts(run(resume=False)[0]) == (6, 0, 0)
    assert counts(run()[0]) == (0, 6, 0)


def test_results_moved_elsewhere_are_known_there(run, archive, tmp_path, quick):
    run()
    (tmp_path / "out").rename(tmp_path / "moved")
    items, _, folder = find_items([archive], tmp_path / "moved", model="quick")
    summary = run_batch(items, PlainEngine([quick]), folder, options=BatchOptions(modality="MR"))
    assert counts(summary) == (0, 6, 0)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_interrupted_batch_goes_on_where_it_was(run, tmp_path, after):
    told = []

    def interrupt(outcome, progress):
        told.append(outcome.item.key)
        if len(told) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tell=interrupt)
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text("utf-8"))
    assert (summary["complete"], summary["done"]) == (False, after)
    rest = run()[0]
    assert rest.count("skipped") >= after
    assert rest.count("skipped") + rest.count("done") == 6


def test_what_a_killed_run_left_behind_is_taken_away(run, tree, tmp_path):
    run()
    before = results(tree, tmp_path / "out")
    unfinished = tmp_path / "out" / "deep" / ".meddenoise-abc"
    unfinished.mkdir()
    (unfinished / "c.mha").write_bytes(b"half")
    run()
    assert results(tree, tmp_path / "out") == before
    assert not unfinished.exists()


def test_time_left_is_told_in_words_and_falls_to_nothing(run):
    told = [progress for _, progress in run()[1]]
    assert [progress.number for progress in told] == list(range(1, 7))
    assert all(progress.total == 6 for progress in told)
    assert told[-1].seconds_left == pytest.approx(0)
    assert str(Progress(3, 20, 725)) == "[3/20, 12 min left]"
    assert str(Progress(3, 20, 50000)) == "[3/20, 13.9 h left]"
    assert str(Progress(1, 20, None)) == "[1/20]"


def test_time_left_is_not_guessed_from_what_was_skipped(run):
    run()
    assert {progress.seconds_left for _, progress in run()[1]} == {None}


def test_name_that_is_no_text_is_named_and_passed_over(run, archive, make_image):
    odd = archive / os.fsdecode(b"a\xff.nrrd")  # at which ITK ends the process
    make_image(archive / "b.nrrd").rename(odd)
    summary, told = run()
    assert counts(summary) == (6, 0, 1)
    (outcome,) = [outcome for outcome, _ in told if outcome.item.source.path == odd]
    assert "is not valid text" in outcome.reason


def test_end_by_an_error_ends_the_work_too(run, archive, tmp_path):
    def full(outcome, progress):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        run(tell=full)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
    assert json.loads((tmp_path / "out" / SUMMARY).read_text("utf-8"))["complete"] is False

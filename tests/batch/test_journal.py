"""The journal survives whatever ends a batch."""

import pytest

from meddenoise.batch.journal import JOURNAL, Journal, Record
from meddenoise.errors import OutputError

DONE = Record("abc", 12)


def test_record_is_found_in_the_next_run_and_the_last_one_counts(tmp_path):
    with Journal.open(tmp_path / "new") as journal:
        assert journal.find("a") is None
        journal.add("a", Record("old", 1))
        journal.add("a", DONE)
        assert journal.find("a") == DONE
    with Journal.open(tmp_path / "new") as journal:
        assert (journal.find("a"), journal.find("b")) == (DONE, None)


def test_record_is_on_the_disk_before_the_journal_is_closed(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.add("ünïcödé/a b.nrrd", DONE)
        assert (tmp_path / JOURNAL).read_text("utf-8").count("\n") == 1


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_torn_line_is_passed_over_and_the_next_one_is_whole(tmp_path, cut):
    with Journal.open(tmp_path) as journal:
        journal.add("a", DONE)
        journal.add("b", Record("torn" * 10, 5))
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole[:-cut])
    with Journal.open(tmp_path) as journal:
        assert (journal.find("a"), journal.find("b")) == (DONE, None if cut > 1 else Record("torn" * 10, 5))
        journal.add("c", DONE)
    with Journal.open(tmp_path) as journal:
        assert (journal.find("a"), journal.find("c")) == (DONE, DONE)


@pytest.mark.parametrize("line", ["[]", "null", '{"item": "a"}', '{"item": "a", "key": "k", "size": null}', "\x00"])
def test_line_that_says_nothing_is_passed_over(tmp_path, line):
    (tmp_path / JOURNAL).write_text(f"{line}\n")
    with Journal.open(tmp_path) as journal:
        assert journal.find("a") is None


def test_two_batches_do_not_work_in_one_folder(tmp_path):
    with Journal.open(tmp_path), pytest.raises(OutputError, match="another batch is at work"), Journal.open(tmp_path):
        pass
    with Journal.open(tmp_path):
        pass


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/out: cannot be written"), Journal.open(tmp_path / "file" / "out"):
        pass

"""The audit log, and a server's log without names."""

import json
import logging
import threading
import warnings

import pytest

from meddenoise.errors import ServiceError
from meddenoise.server import audit as module
from meddenoise.server.audit import AuditLog, Entry
from meddenoise.server.privacy import NOISY, Scrubber, quiet

ENTRY = Entry(
    who="ward 3",
    role="user",
    client="10.0.0.5",
    method="POST",
    route="/infer/{model}",
    image="0123456789abcdef",
    session=None,
    model="student",
    version="1.0.0",
    status=200,
    ms=412,
)


@pytest.fixture
def audit(tmp_path):
    log = AuditLog(tmp_path / "audit")
    yield log
    log.close()


def test_each_entry_is_one_line_of_json_with_its_time(audit):
    audit.write(ENTRY)
    audit.write(ENTRY)
    lines = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["time"].endswith("+00:00")
    assert {key: lines[0][key] for key in ("who", "model", "version", "status", "ms")} == {
        "who": "ward 3",
        "model": "student",
        "version": "1.0.0",
        "status": 200,
        "ms": 412,
    }


def test_entries_of_several_threads_do_not_mix(audit):
    threads = [threading.Thread(target=lambda: [audit.write(ENTRY) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["who"] for line in audit.path.read_text().splitlines()] == ["ward 3"] * 800


def test_a_pseudonym_outlives_the_server_and_differs_between_sites(tmp_path):
    first, again, other = (AuditLog(tmp_path / name) for name in ("a", "a", "b"))
    assert first.pseudonym("Meier") == again.pseudonym("Meier") != first.pseudonym("Maier")
    assert first.pseudonym("Meier") != other.pseudonym("Meier")
    for log in (first, again, other):
        log.close()


def test_the_log_turns_over_and_keeps_the_old_lines(tmp_path):
    log = AuditLog(tmp_path, file_bytes=1000)
    for _ in range(10):
        log.write(ENTRY)
    log.close()
    files = sorted(tmp_path.glob("audit.jsonl*"))
    assert len(files) > 2
    assert sum(len(file.read_text().splitlines()) for file in files) == 10
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert module.FILES * module.FILE_BYTES >= 500 * 1024 * 1024


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ServiceError, match=r"audit log in .*taken cannot be written"):
        AuditLog(tmp_path / "taken")


# --- names in the server's log ----------------------------------------------------------------------------------------


@pytest.fixture
def scrub(tmp_path):
    scrubber = Scrubber([tmp_path / "studies"], lambda name: "pseudonym")
    scrubber.remember("Meier 1964")
    scrubber.remember("a")  # too short: it is in every word
    return scrubber


def test_names_are_taken_out_and_the_rest_stays(scrub, tmp_path):
    texts = {
        f"cannot read '{tmp_path}/studies/Meier Hans.nii.gz' now": "cannot read '<path>' now",
        "no image Meier 1964 here": "no image <pseudonym> here",
        "saved Meier_Hans.NII.GZ and b.dcm": "saved <file>.NII.GZ and <file>.dcm",
        "value 'Meier^Hans^^Dr' of PN": "value '<name>' of PN",
        'File "/opt/venv/monailabel/app.py", line 3, in x': 'File "/opt/venv/monailabel/app.py", line 3, in x',
        "student: 200 slices, seconds {'infer': 0.5}": "student: 200 slices, seconds {'infer': 0.5}",
    }
    assert {text: scrub(text) for text in texts} == texts


@pytest.fixture
def restored():
    """Puts Python's logging back as it was."""
    factory, levels = logging.getLogRecordFactory(), {name: logging.getLogger(name).level for name in NOISY}
    yield
    logging.setLogRecordFactory(factory)
    logging.captureWarnings(False)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_every_record_is_scrubbed_tracebacks_too(scrub, restored, caplog):
    quiet(scrub)
    logger = logging.getLogger("somebody.elses")
    with caplog.at_level(logging.INFO):
        logger.info("image %s and %s", "Meier 1964", {"name": "Meier^Hans"})
        logger.info("does not fit %d", "Meier 1964")
        logging.getLogger("monailabel.endpoints.infer").info("Infer Request: Huber")
        try:
            raise OSError("/data/Meier 1964.nrrd")
        except OSError:
            logger.exception("failed")
    assert "Meier" not in caplog.text
    assert "Hans" not in caplog.text
    assert "Huber" not in caplog.text
    assert "image <pseudonym> and" in caplog.text
    assert "OSError" in caplog.text


def test_warnings_are_scrubbed_too(scrub, restored, caplog):
    quiet(scrub)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # for this block's own way to show them
        warnings.warn("bad value Meier^Hans", UserWarning, stacklevel=1)
    assert "<name>" in caplog.text
    assert "Meier" not in caplog.text

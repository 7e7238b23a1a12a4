"""A site's versions of a model: published whole or not at all, switched at once, kept, and never served damaged."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import ModelError, OptionError, OutputError
from meddenoise.networks import Student
from meddenoise.weights import Card, versions

TINY = {"widths": [4, 4, 4], "blocks": [1, 1, 1]}
CARD = Card("student", "0.3.0", "student", TINY, "For tests", ["CT"], 1, 0.1)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Student(widths=(4, 4, 4), blocks=(1, 1, 1))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder; the built-in models are the published ones."""
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def built_in(home):
    return weights.read_card("student")


def names(model="student"):
    return [one.version for one in versions.versions(model)]


def active(model="student"):
    return next(one.version for one in versions.versions(model) if one.active)


def test_a_published_version_is_what_the_name_stands_for(home, built_in):
    package, there = sorted(path.name for path in weights.folder().iterdir()), weights.available()
    card = versions.publish(network(1), CARD)
    assert card.version == "0.3.0+site.1"
    found, read = weights.load("student")
    assert read == card == weights.read_card("student")
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), network(1).parameters(), strict=True))
    assert weights.file_of("student").is_relative_to(home)
    assert weights.load("student@built-in")[1] == built_in
    assert weights.available() == there
    assert sorted(path.name for path in weights.folder().iterdir()) == package


def test_a_version_that_is_not_active_can_be_had_by_its_number(built_in):
    first, second = (versions.publish(network(seed), CARD) for seed in (1, 2))
    assert weights.load("student@0.3.0+site.1")[1] == first
    assert weights.load("student")[1] == second
    assert weights.load(f"student@{built_in.version}")[1] == built_in
    for wrong in ("0.3.0+site.9", "..", "../..", "0.3.0+site.1/.."):
        with pytest.raises(ModelError, match="unknown version"):
            weights.load(f"student@{wrong}")


def test_activate_and_roll_back_go_where_they_say(built_in):
    for seed in (1, 2):
        versions.publish(network(seed), CARD)
    assert versions.activate("student", "0.3.0+site.1").version == "0.3.0+site.1"
    assert versions.activate("student", built_in.version) == built_in
    assert active() == "built-in"
    for expected in ("0.3.0+site.1", "0.3.0+site.2", "0.3.0+site.1", "built-in"):
        versions.rollback("student")
        assert active() == expected
    with pytest.raises(ModelError, match="student has no earlier version to go back to"):
        versions.rollback("student")
    assert weights.read_card("student") == built_in


def test_the_last_versions_are_kept_and_those_one_can_go_back_to(built_in):
    for seed in range(3):
        versions.publish(network(seed), CARD, keep=2)
    assert names() == ["built-in", "0.3.0+site.2", "0.3.0+site.3"]
    versions.activate("student", "0.3.0+site.2")
    for seed in (3, 4):
        versions.publish(network(seed), CARD, keep=1)
    assert names() == ["built-in", "0.3.0+site.4", "0.3.0+site.5"]
    versions.rollback("student")
    assert weights.load("student")[1].version == "0.3.0+site.4"


def test_a_number_is_never_given_twice(built_in):
    for seed in (1, 2):
        versions.publish(network(seed), CARD)
    versions.rollback("student")
    versions.delete("student", "0.3.0+site.2")
    assert versions.publish(network(3), replace(CARD, version="0.3.0+site.1")).version == "0.3.0+site.3"


def test_the_active_and_the_built_in_version_cannot_be_deleted(built_in):
    versions.publish(network(1), CARD)
    with pytest.raises(OptionError, match=r"student 0.3.0\+site.1 is active and cannot be deleted; activate another"):
        versions.delete("student", "0.3.0+site.1")
    for name in ("built-in", built_in.version):
        with pytest.raises(OptionError, match="the built-in version of student cannot be deleted"):
            versions.delete("student", name)
    with pytest.raises(ModelError, match=r"no version 'x'; it has: built-in, 0.3.0\+site.1"):
        versions.delete("student", "x")


def test_a_deleted_version_is_gone_and_nothing_rolls_back_to_it(home, built_in):
    for seed in (1, 2):
        versions.publish(network(seed), CARD)
    versions.delete("student", "0.3.0+site.1")
    assert names() == ["built-in", "0.3.0+site.2"]
    assert versions.rollback("student") == built_in
    assert sorted(path.name for path in (home / "models/student").iterdir()) == ["0.3.0+site.2", "active.json"]


def test_a_version_that_another_needs_for_some_modality_stays(built_in):
    for seed in range(4):
        versions.publish(network(seed), CARD, keep=2)
    assert names() == ["built-in", "0.3.0+site.3", "0.3.0+site.4"]
    versions.publish(network(4), replace(CARD, elsewhere={"MR": "0.3.0+site.3", "XR": "built-in"}), keep=1)
    versions.publish(network(5), replace(CARD, elsewhere={"MR": "0.3.0+site.3"}), keep=1)
    assert names() == ["built-in", "0.3.0+site.3", "0.3.0+site.5", "0.3.0+site.6"]
    with pytest.raises(OptionError, match=r"0.3.0\+site.3 denoises some modalities for 0.3.0\+site.5, 0.3.0\+site.6"):
        versions.delete("student", "0.3.0+site.3")
    for version in ("0.3.0+site.5", "built-in"):
        versions.activate("student", version)
    for version in ("0.3.0+site.5", "0.3.0+site.6", "0.3.0+site.3"):
        versions.delete("student", version)
    assert names() == ["built-in"]


def test_a_version_whose_other_modalities_nobody_would_denoise_is_not_published(built_in):
    with pytest.raises(ModelError, match=r"student 0.3.0\+site.7, which is to denoise some modalities, is gone"):
        versions.publish(network(0), replace(CARD, elsewhere={"MR": "0.3.0+site.7"}))
    assert names() == ["built-in"]


def test_a_model_outside_its_versions_denoises_all_modalities_itself(home, built_in):
    card = versions.publish(network(0), replace(CARD, elsewhere={"MR": "built-in"}))
    assert weights.read_card("student").elsewhere == {"MR": "built-in"}
    assert weights.load(str(weights.file_of("student")))[1].elsewhere == {}
    for end in (".json", ".safetensors"):
        (home / f"models/hand{end}").write_bytes((home / f"models/student/{card.version}/student{end}").read_bytes())
    assert weights.read_card("hand").elsewhere == {}


def test_a_damaged_version_is_not_activated(home, built_in):
    for seed in (1, 2):
        versions.publish(network(seed), CARD)
    with (home / "models/student/0.3.0+site.1/student.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    for change in (lambda: versions.activate("student", "0.3.0+site.1"), lambda: versions.rollback("student")):
        with pytest.raises(ModelError, match="are damaged: sha256"):
            change()
    assert active() == "0.3.0+site.2"


def test_an_active_version_that_is_damaged_or_gone_is_named_with_the_way_out(home, built_in):
    versions.publish(network(1), CARD)
    (home / "models/student/0.3.0+site.1/student.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="choose another version with: meddenoise models activate student VERSION"):
        weights.load("student")
    (home / "models/student/0.3.0+site.1").rename(home / "elsewhere")
    with pytest.raises(ModelError, match=r"0.3.0\+site.1 of student is gone; choose another"):
        weights.load("student")
    assert versions.activate("student", "built-in") == built_in
    assert weights.read_card("student") == built_in


def test_a_damaged_pointer_is_named_with_the_way_out(home, built_in):
    versions.publish(network(1), CARD)
    (home / "models/student/active.json").write_text('{"active"')
    with pytest.raises(ModelError, match=r"active\.json is damaged .* delete it to go back to the built-in version"):
        weights.load("student")
    (home / "models/student/active.json").unlink()
    assert weights.load("student")[1] == built_in


def test_a_version_found_better_than_another_than_the_active_one_is_not_published(built_in):
    first = versions.publish(network(1), CARD, instead_of=built_in.sha256)
    with pytest.raises(ModelError, match="another version of student was activated meanwhile"):
        versions.publish(network(2), CARD, instead_of=built_in.sha256)
    assert weights.read_card("student") == first
    assert names() == ["built-in", "0.3.0+site.1"]


def test_what_was_measured_lies_beside_the_version(home, built_in):
    versions.publish(network(1), CARD, beside=lambda place: (place / "comparison.md").write_text("better"))
    assert (home / "models/student/0.3.0+site.1/comparison.md").read_text() == "better"


def test_a_model_that_was_put_there_by_hand_is_the_built_in_version_of_its_versions(home):
    by_hand = weights.save(network(1), replace(CARD, name="ward"), home / "models")
    versions.publish(network(2), replace(by_hand, version="0.3.0"))
    assert weights.read_card("ward").version == "0.3.0+site.1"
    assert names("ward") == ["built-in", "0.3.0+site.1"]
    assert versions.rollback("ward") == by_hand


def test_a_model_of_the_sites_own_without_a_built_in_version_comes_and_goes(home):
    card, there = replace(CARD, name="ward"), weights.available()
    versions.publish(network(1), card)
    assert weights.available() == sorted([*there, "ward"])
    with pytest.raises(ModelError, match="no earlier version"):
        versions.rollback("ward")
    versions.remove("ward")
    assert weights.available() == there
    assert [path.name for path in (home / "models").iterdir()] == [".lock"]
    with pytest.raises(ModelError, match="no model 'ward' of this site's own"):
        versions.remove("ward")
    with pytest.raises(OptionError, match="student is a published model and stays"):
        versions.remove("student")


def test_weights_named_by_the_environment_are_the_only_ones(home, tmp_path, monkeypatch, built_in):
    versions.publish(network(1), CARD)
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(weights.folder()))
    assert weights.read_card("student") == built_in
    assert names() == ["built-in"]
    with pytest.raises(OptionError, match="MEDDENOISE_WEIGHTS names the only folder of models"):
        versions.publish(network(2), CARD)


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "", "x" * 65])
def test_a_models_name_does_not_climb(home, name):
    with pytest.raises(OptionError, match="a model's name must be letters"):
        versions.publish(network(1), replace(CARD, name=name))
    assert not list(home.parent.glob("*.json"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, built_in):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot be changed .* name another folder in MEDDENOISE_HOME"):
        versions.publish(network(1), CARD)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files the POSIX way")
@pytest.mark.parametrize("most", [0, 100, 500, 4000], ids="{} bytes".format)
def test_a_full_disk_leaves_the_active_version_as_it_was(home, built_in, most):
    import resource

    first = versions.publish(network(1), CARD)
    before = sorted(path.name for path in (home / "models/student").rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))  # Python hears of it as an error of writing
    try:
        with pytest.raises(OutputError, match="cannot be"):
            versions.publish(network(2), CARD, beside=lambda place: (place / "picture").write_bytes(bytes(9000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert weights.load("student")[1] == first
    assert sorted(path.name for path in (home / "models/student").rglob("*")) == before
    assert versions.publish(network(2), CARD).version == "0.3.0+site.2"


def test_publishers_at_the_same_time_stand_in_line(built_in):
    made, one = [], network()
    threads = [threading.Thread(target=lambda: made.append(versions.publish(one, CARD, keep=9))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(card.version for card in made) == [f"0.3.0+site.{n}" for n in range(1, 9)]
    assert len(names()) == 9
    assert weights.load("student")[1].version == "0.3.0+site.8"


def test_readers_find_one_whole_version_while_others_are_published(built_in):
    networks = [network(seed) for seed in range(12)]
    versions.publish(networks[0], CARD)
    stop, found, wrong = threading.Event(), set(), []

    def read():
        while not stop.is_set():
            try:
                loaded, card = weights.load("student")
                published = networks[int(card.version.rpartition(".")[2]) - 1]
                if not torch.equal(next(loaded.parameters()), next(published.parameters())):
                    wrong.append(card.version)
                found.add(card.version)
            except ModelError as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for one in networks[1:]:
        versions.publish(one, CARD, keep=1)
    stop.set()
    reader.join()
    assert wrong == []
    assert len(found) > 1


KILLED = """
import os, random, signal, sys, time
import meddenoise.io
from meddenoise import weights
from meddenoise.networks import Student
from meddenoise.weights import Card, versions

card = Card("student", "0.3.0", "student", {"widths": [4, 4, 4], "blocks": [1, 1, 1]}, "For tests", ["CT"], 1, 0.1)
network = Student(widths=(4, 4, 4), blocks=(1, 1, 1))
versions.publish(network, card, keep=2)
draw = random.Random(0)
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        while True:
            versions.publish(network, card, keep=2, beside=lambda place: (place / "more").write_bytes(bytes(50000)))
            versions.rollback("student")
    time.sleep(draw.uniform(0.0, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(weights.load("student")[1].version, [weights.load(f"student@{one.version}")[1].version
          for one in versions.versions("student")])
last = versions.publish(network, card, keep=2)
assert weights.load("student")[1] == last
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes the POSIX way")
def test_a_publisher_killed_at_any_moment_leaves_whole_versions_and_no_lock(home):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "20"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20
    left = [path.name for path in (home / "models/student").iterdir()]
    assert not [name for name in left if name.startswith(".")]  # what was killed half way is cleared away
    assert json.loads((home / "models/student/active.json").read_text())["active"] in left
    assert not list(Path(weights.folder()).glob("*.part"))

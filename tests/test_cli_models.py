"""`meddenoise models`: what is listed, and what changes which version counts."""

import json
from dataclasses import replace

import pytest

from meddenoise import weights
from meddenoise.cli import main
from meddenoise.weights import versions


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """The published student; the site has one version of it, which is active."""
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path))
    network, card = weights.load("student")
    card = replace(card, elsewhere={"MR": "built-in"})
    versions.publish(network, card, beside=lambda f: (f / "comparison.json").write_text('{"verdict": "better than x"}'))
    return card.version


def run(capsys, *arguments, code=0):
    assert main(["models", *arguments]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_list_names_the_active_version(built_in, capsys):
    assert run(capsys) == run(capsys, "list")
    assert f"{built_in}+site.1" in run(capsys, "list")


def test_show_marks_the_active_version_and_tells_the_comparison(built_in, capsys):
    for arguments in ((), ("student",)):
        rows = [line for line in run(capsys, "show", *arguments).splitlines() if line[2:].startswith("student ")]
        assert rows[0].startswith(f"  student      built-in ({built_in})")
        assert rows[1].startswith(f"* student      {built_in}+site.1")
        assert rows[1].endswith("better than x")


def test_show_says_which_version_denoises_a_modality_in_place_of_this_one(built_in, capsys):
    assert "elsewhere    MR: built-in" in run(capsys, "show", "student").splitlines()
    assert "elsewhere" not in run(capsys, "show", "student@built-in")


def test_show_gives_versions_as_json(built_in, capsys):
    one = json.loads(run(capsys, "show", "student", "--json"))
    assert one["version"] == f"{built_in}+site.1"
    assert [(v["name"], v["active"]) for v in one["versions"]] == [("built-in", False), (f"{built_in}+site.1", True)]
    assert json.loads(run(capsys, "show", "--json"))["student"] == one["versions"]
    assert json.loads(run(capsys, "show", "student@built-in", "--json"))["version"] == built_in


def test_versions_are_activated_rolled_back_and_deleted(built_in, capsys):
    own = f"{built_in}+site.1"
    assert run(capsys, "activate", "student", "built-in") == f"student is now {built_in}\n"
    assert run(capsys, "rollback", "student") == f"student is now {own} again\n"
    assert "is active and cannot be deleted; activate another" in run(capsys, "delete", "student", own, code=2)
    assert run(capsys, "rollback", "student") == f"student is now {built_in} again\n"
    assert run(capsys, "delete", "student", own) == f"student {own} is deleted\n"
    assert "student has no version 'x'; it has: built-in" in run(capsys, "activate", "student", "x", code=1)
    assert "the built-in version of student cannot be deleted" in run(capsys, "delete", "student", "built-in", code=2)
    assert "no earlier version" in run(capsys, "rollback", "student", code=1)


def test_one_damaged_card_does_not_hide_the_other_models(built_in, capsys):
    (weights.site_folder() / "ward.json").write_text("{")
    listed = run(capsys, "list")
    assert "student" in listed
    assert "ward" in listed
    assert "is damaged" in listed

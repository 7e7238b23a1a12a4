"""The other commands: what they list, what they need, and what they say where it is not there."""

import json
import os
import subprocess
import sys

import pytest

from meddenoise import __version__, weights
from meddenoise.cli import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_models_are_listed_and_shown(capsys):
    assert run("models") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == weights.available()
    assert run("models", "show", "student", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "student"
    assert run("models", "show", "student") == 0
    assert "parameters" in capsys.readouterr().out
    assert run("models", "show", "nobody") == 1


def test_training_without_images_says_where_they_come_from(tmp_path):
    done = command("train", "student", "--out", tmp_path / "run", environment={"MEDDENOISE_DATA": ""})
    assert done.returncode == 2
    assert "MEDDENOISE_DATA" in done.stderr
    assert not (tmp_path / "run").exists()


def test_training_into_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert run("train", "student", "--data", tmp_path, "--out", tmp_path / "file" / "run") == 1
    assert (
        capsys.readouterr().err
        == f"meddenoise: {tmp_path / 'file' / 'run'}: cannot be made (Not a directory); choose another --out\n"
    )


def test_module_runs_as_the_command_and_knows_its_version():
    assert command("--version").stdout.strip() == f"meddenoise {__version__}"


def test_command_line_says_one_line_and_no_traceback(tmp_path):
    done = command("denoise", tmp_path / "missing.nrrd", "-o", tmp_path / "results")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("meddenoise: ")


@pytest.mark.parametrize("arguments", [["demo"], ["serve", "--studies", "."]])
def test_server_commands_without_monai_label_say_what_to_install(arguments, tmp_path):
    code = f"import sys; sys.modules['monailabel'] = None; from meddenoise.cli import main; sys.exit(main({arguments}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "meddenoise[server]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def command(*arguments, environment=None):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "meddenoise", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )

"""The extension runs in every Slicer since 5.6, whose Python is 3.9, and imports only what Slicer ships."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "slicer_extension"
MODULES = [EXTENSION / name for name in ("MedDenoise", "MedDenoiseTraining")]
FILES = [file for module in MODULES for file in sorted(module.rglob("*.py"))]
CLIENT = {"Errors", "Address", "Client", "Connection", "Multipart", "Answers", "Faults", "Server", "Transfer"}
CLIENT |= {"Job", "Settings", "TrainingClient", "Deposit", "Trainers", "Training", "Versions"}
AT_LOAD = {"slicer", "vtk", "numpy", "qt", "ctk", "MedDenoiseLib", "MedDenoiseTrainingLib"}
INSIDE_FUNCTIONS = {"pydicom", "DICOMLib", "DICOMScalarVolumePlugin"}
"""What Slicer ships beside these, used where it is needed."""


def at_load(tree):
    """Statements that run when a file is imported, imports of modules among them."""
    for node in tree.body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            yield from node.body
            yield from node.orelse


def modules(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


@pytest.fixture(params=FILES, ids=lambda file: file.relative_to(EXTENSION).as_posix())
def tree(request):
    return ast.parse(request.param.read_text(encoding="utf-8"), request.param.name, feature_version=(3, 9))


def test_syntax_is_that_of_python_3_9(tree):
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


def test_unions_are_written_in_annotations_only(tree):
    """`X | Y` between types fails at run time before Python 3.10; annotations are not evaluated."""
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    annotated = [node for node in ast.walk(tree) if getattr(node, "annotation", None) or getattr(node, "returns", None)]
    assert future or not annotated


def test_dataclasses_use_no_newer_options(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dataclass":
            assert not {keyword.arg for keyword in node.keywords} & {"slots", "kw_only"}


def test_only_what_slicer_ships_is_imported(tree):
    first = set().union(*(modules(node) for node in at_load(tree)))
    assert first <= AT_LOAD | set(sys.stdlib_module_names)
    found = set().union(*(modules(node) for node in ast.walk(tree)))
    assert found <= AT_LOAD | INSIDE_FUNCTIONS | set(sys.stdlib_module_names)


def test_nothing_is_installed_and_no_torch_is_loaded(tree):
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
    assert not names & {"pip_install", "pip_ensure", "torch", "system", "exec", "eval"}


def test_nothing_is_executed_when_a_file_is_imported(tree):
    """Definitions, imports, constants and docstrings; a call may only make a constant."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Try, ast.If)
    for node in at_load(tree):
        constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        filled = isinstance(node, ast.Expr) and ast.unparse(node).split(".")[0].isupper()  # CONSTANT.update(...)
        assert constant or filled or isinstance(node, allowed), f"line {node.lineno}: {ast.unparse(node)[:80]}"


def test_no_signal_is_defined_in_python_because_that_crashes_slicer(tree):
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "Signal"]


GETTERS = {"text", "currentText", "currentIndex", "checked", "isChecked", "value", "currentPath", "title", "count"}


def test_qt_is_read_by_property_which_pythonqt_and_pyside_share(tree):
    """`w.text` is an attribute in PythonQt and a method in PySide6; `w.property("text")` is right in both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in GETTERS:
            owner = ast.unparse(node.value)
            assert not owner.startswith(("ui.", "self.ui.", "box", "table")), f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", sorted(CLIENT & {file.stem for file in FILES}))
def test_client_layer_knows_neither_qt_nor_slicer(name):
    (file,) = (file for file in FILES if file.stem == name)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set().union(*(modules(node) for node in ast.walk(tree)))
    assert not found & {"qt", "ctk", "slicer", "vtk", "numpy"}


def test_logic_layer_knows_no_qt():
    widgets = {"Widget", "ServerPanel", "ImagePanel", "ResultPanel", "Delay", "MedDenoise"}
    widgets |= {"TrainingWidget", "UploadPanel", "TrainingPanel", "VersionsPanel", "PicturePanel", "OptionForm"}
    widgets |= {"Watch", "Surroundings", "MedDenoiseTraining"}
    for file in FILES:
        if file.stem not in widgets and "Testing" not in file.parts:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found = set().union(*(modules(node) for node in ast.walk(tree)))
            assert not found & {"qt", "ctk"}, file.name


def test_vermin_finds_nothing_newer_than_python_3_9():
    pytest.importorskip("vermin", reason="vermin is not installed")
    program = [str(Path(sys.executable).with_name("vermin")), "--target=3.9-", "--violations", "--no-tips"]
    done = subprocess.run([*program, *map(str, FILES)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_ruff_agrees_that_this_is_python_3_9():
    command = ["ruff", "check", "--no-cache", "--select", "E9,F,UP036", "--target-version", "py39", str(EXTENSION)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_no_file_of_the_second_module_is_used_by_the_first():
    for file in (MODULES[0]).rglob("*.py"):
        assert "MedDenoiseTraining" not in file.read_text(encoding="utf-8"), file.name

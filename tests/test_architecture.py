"""The house's plan, held by parsing the imports: data flows one way, and each library has its room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "models" / "meddenoise"
APP = ROOT / "apps" / "meddenoise"
SLICER = ROOT / "slicer_extension"

LAYERS = (
    ("errors", "notice", "volume"),
    ("networks", "noise", "noise_level", "intensity", "metrics", "io"),
    ("weights", "phantom"),
    ("inference", "training"),
    ("recipes", "report", "picture", "benchmark", "export"),
    ("comparison",),
    ("batch",),
    ("server",),
    ("cli", "cli_batch", "cli_denoise", "cli_models", "cli_noise", "cli_serve", "cli_train", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LIGHT = ("networks", "noise", "noise_level", "intensity", "training")
"""Rooms that must run on a machine with torch, numpy and safetensors alone."""

HOMES = {  # who may import what
    "pydicom": ("io",),
    "SimpleITK": ("io",),
    "dicomanonymizer": ("io",),
    "dicomweb_client": ("server",),
    "ray": ("batch",),
    "monailabel": ("server",),
    "monai": ("server", "training"),
    "mlflow": ("training",),
    "nibabel": ("export",),
    "fastapi": ("server",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "argparse": ("cli", "cli_batch", "cli_models", "cli_noise", "cli_serve", "cli_train"),
    "safetensors": ("weights", "training"),
    "filelock": ("weights", "server"),
    "PIL": ("picture",),
    "skimage": (),
    "slicer": (),
    "qt": (),
}
REQUIRED = {"torch", "numpy", "SimpleITK", "pydicom", "dicomanonymizer", "safetensors", "filelock", "PIL"}
"""What setup.py requires without any extra, by import name."""

OPTIONAL = {"training": {"monai", "mlflow"}, "export": {"nibabel"}, "batch": {"ray"}}
"""What a room uses where it is installed, inside functions; a bundle's script uses it when the bundle runs."""

INSIDE_A_ROOM = {  # rooms of one layer that may use one another, in this direction only
    "report": {"picture"},
    "cli": {"cli_batch", "cli_denoise", "cli_models", "cli_noise", "cli_serve", "cli_train"},
    "__main__": {"cli"},
}


def python_files(folder):
    return sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file, *, at_load=False):
    """Names imported by a file as dotted paths; `at_load` leaves out those inside functions and TYPE_CHECKING."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(_load_time(tree)) if at_load else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _load_time(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _load_time(child)


def rooms_imported(file):
    """The rooms of our package that a file imports from."""
    names = (name.split(".") for name in imports(file))
    return {parts[1] for parts in names if parts[0] == "meddenoise" and len(parts) > 1 and parts[1] in LEVEL}


def libraries(file):
    return {name.split(".")[0] for name in imports(file)}


def inside(files):
    return [pytest.param(file, id=file.relative_to(ROOT).as_posix()) for file in files]


INNER = [file for file in python_files(PACKAGE) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", inside(INNER))
def test_every_file_belongs_to_a_layer_and_imports_only_earlier_ones(file):
    room = room_of(file)
    assert room in LEVEL, f"{room} has no place in LAYERS; give it one"
    allowed = {other for other in LEVEL if LEVEL[other] < LEVEL[room]} | {room} | INSIDE_A_ROOM.get(room, set())
    assert rooms_imported(file) <= allowed


@pytest.mark.parametrize("file", inside(python_files(PACKAGE)))
def test_each_library_stays_in_its_room(file):
    room = room_of(file)
    for library in libraries(file) & set(HOMES):
        assert room in HOMES[library], f"{library} belongs to {HOMES[library]}"


@pytest.mark.parametrize("file", inside(INNER))
def test_bare_package_needs_only_what_it_requires(file):
    if room_of(file) != "server":
        optional = OPTIONAL.get(room_of(file), set())
        assert libraries(file) <= REQUIRED | optional | sys.stdlib_module_names | {"meddenoise"}


@pytest.mark.parametrize("file", inside(INNER))
def test_only_the_command_line_prints(file):
    calls = (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not prints or room_of(file).startswith("cli"), f"print in lines {prints}"


@pytest.mark.parametrize("file", inside([file for room in LIGHT for file in PACKAGE.glob(f"{room}*")]))
def test_light_rooms_load_no_image_library(file):
    for each in [file] if file.is_file() else python_files(file):
        loaded = {name.split(".")[0] for name in imports(each, at_load=True)}
        assert not loaded & {"SimpleITK", "pydicom", "monai", "PIL", "skimage", "scipy"}
        assert not any(name.startswith("meddenoise.io") for name in imports(each, at_load=True))


@pytest.mark.parametrize("file", inside(python_files(APP)))
def test_app_wires_the_package_and_holds_no_arithmetic_library(file):
    assert not libraries(file) & {"numpy", "torch", "SimpleITK", "pydicom"}


def test_app_is_no_package_of_the_same_name():
    assert not (APP / "__init__.py").exists()
    assert not (ROOT / "apps" / "__init__.py").exists()


def test_tests_are_no_package_because_a_dependency_installs_one_called_tests():
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("file", inside(python_files(SLICER)))
def test_slicer_extension_imports_nothing_of_ours_and_nothing_to_install(file):
    assert not libraries(file) & {"meddenoise", "torch", "monai", "monailabel", "SimpleITK", "requests"}


def test_slicer_and_qt_are_used_in_the_extension_alone():
    users = [file for folder in (PACKAGE, APP) for file in python_files(folder)]
    users = [file for file in users if libraries(file) & {"slicer", "qt", "ctk", "vtk", "PySide6"}]
    assert users == []


def test_slicer_extension_is_there():
    assert (SLICER / "MedDenoise" / "MedDenoise.py").is_file()


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


BLOCKED = ("SimpleITK", "pydicom", "PIL", "monai", "monailabel", "fastapi", "scipy", "skimage")
BLOCKER = f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_with_torch_numpy_and_safetensors_alone(room):
    done = run(f"{BLOCKER}import meddenoise.{room}")
    assert done.returncode == 0, done.stderr


def test_training_loop_imports_with_torch_numpy_and_safetensors_alone():
    recipes = ("gan", "student", "teacher", "two_stage")
    done = run(f"{BLOCKER}import meddenoise.training.loop, " + ", ".join(f"meddenoise.recipes.{r}" for r in recipes))
    assert done.returncode == 0, done.stderr


def test_blocker_really_blocks():
    assert run(f"{BLOCKER}import meddenoise.io").returncode != 0


def test_importing_the_package_loads_neither_torch_nor_simpleitk():
    done = run("import sys, meddenoise; print([n for n in ('torch', 'SimpleITK', 'numpy') if n in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_help_of_the_command_line_loads_no_heavy_library():
    code = "import sys, meddenoise.cli as c\ntry: c.main(['denoise', '--help'])\nexcept SystemExit: pass\n"
    done = run(f"{code}print([n for n in ('torch', 'SimpleITK', 'monailabel') if n in sys.modules])")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr

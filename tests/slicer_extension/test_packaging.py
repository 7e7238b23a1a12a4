"""What the Extensions Index and Slicer's build look for."""

import json
import re
import struct
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "slicer_extension"
MODULE = EXTENSION / "MedDenoise"
MODULES = [MODULE, EXTENSION / "MedDenoiseTraining"]
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY = json.loads((ROOT / "MedDenoise.json").read_text(encoding="utf-8"))
CATEGORIES = {"Active Learning", "Filtering", "Image Synthesis", "Nuclear Medicine", "Registration", "Segmentation"}
"""Of those that the Index accepts, the ones that could be meant."""


def of(name, text):
    """A variable that CMake sets, as text."""
    return re.search(rf'set\({name} "([^"]*)"\)', text)[1]


@pytest.fixture(params=MODULES, ids=lambda module: module.name)
def module(request):
    return request.param


def listed(module, name):
    """The files in one of a module's lists, the variable MODULE_NAME put in."""
    text = (module / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", module.name)
    return re.search(rf"set\({name}\s([^)]*)\)", text)[1].split()


def in_tree(module, pattern, *parts):
    found = (module.joinpath(*parts)).rglob(pattern)
    return {path.relative_to(module).as_posix() for path in found if path.is_file() and "__pycache__" not in path.parts}


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", path
    return struct.unpack(">II", head[16:24])


def placeholder():
    text = (MODULE / "MedDenoiseLib" / "Links.py").read_text(encoding="utf-8")
    return re.search(r'^HOME = "([^"]+)"$', text, re.MULTILINE)[1]


def test_every_script_is_listed_once_and_every_listed_one_exists(module):
    scripts = listed(module, "MODULE_PYTHON_SCRIPTS")
    tree = in_tree(module, "*.py") - in_tree(module, "*.py", "Testing")
    assert len(scripts) == len(set(scripts))
    assert set(scripts) == tree


def test_every_resource_is_listed_once_and_every_listed_one_exists(module):
    resources = listed(module, "MODULE_PYTHON_RESOURCES")
    assert len(resources) == len(set(resources))
    assert set(resources) == in_tree(module, "*", "Resources")


def test_files_of_both_modules_lie_flat_in_slicer_without_getting_into_each_others_way():
    packages = [path.name for module in MODULES for path in module.iterdir() if (path / "__init__.py").is_file()]
    assert sorted(packages) == ["MedDenoiseLib", "MedDenoiseTrainingLib"]


def test_every_self_test_is_registered():
    text = (MODULE / "Testing" / "Python" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert {path.name for path in (MODULE / "Testing" / "Python").glob("*.py")} == set(re.findall(r"\w+\.py", text))


def test_cmake_builds_the_module_and_its_tests(module):
    text = (module / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"add_subdirectory(slicer_extension/{module.name})" in TOP
    assert f"set(MODULE_NAME {module.name})" in text
    for words in ("slicerMacroBuildScriptedModule(", "WITH_GENERIC_TESTS", "slicer_add_python_unittest("):
        assert words in text
    for folder in re.findall(r"add_subdirectory\(([^)]+)\)", TOP):
        assert (ROOT / folder / "CMakeLists.txt").is_file()


def test_project_is_called_as_the_entry():
    assert re.search(r"^project\((\w+)\)", TOP, re.MULTILINE)[1] == "MedDenoise"
    assert (ROOT / "MedDenoise.json").is_file()


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"])
def test_metadata_is_in_the_root_file(name):
    assert of(f"EXTENSION_{name}", TOP)


def test_root_file_ends_as_an_extension_does():
    wanted = ("find_package(Slicer REQUIRED)", "include(${Slicer_USE_FILE})", "## NEXT_MODULE")
    wanted += ("include(${Slicer_EXTENSION_GENERATE_CONFIG})", "include(${Slicer_EXTENSION_CPACK})")
    places = [TOP.index(words) for words in wanted]
    assert places == sorted(places)


def test_entry_has_the_keys_of_the_schema_and_no_others():
    required = {"$schema", "category", "scm_url"}
    optional = {"scm_revision", "build_dependencies", "build_subdirectory", "tier", "dicom_support_rule", "enabled"}
    assert required <= set(ENTRY) <= required | optional
    assert ENTRY["category"] in CATEGORIES
    assert isinstance(ENTRY["tier"], int)
    assert ENTRY["build_subdirectory"] == "."


def test_addresses_without_a_home_come_from_one_place():
    home = placeholder()
    for address in (of("EXTENSION_HOMEPAGE", TOP), of("EXTENSION_ICONURL", TOP), ENTRY["scm_url"]):
        assert address.startswith(home)
    for file in EXTENSION.rglob("*.py"):
        if file.name != "Links.py":
            assert "example.org" not in file.read_text(encoding="utf-8"), file


def test_icon_and_screenshots_named_are_in_the_repository():
    for address in (of("EXTENSION_ICONURL", TOP), *of("EXTENSION_SCREENSHOTURLS", TOP).split()):
        path = ROOT / urlsplit(address).path.split("/raw/main/")[1]
        assert png_size(path)[0] >= 128


def test_icon_is_128_pixels_wide_and_high(module):
    icon = module / "Resources" / "Icons" / f"{module.name}.png"
    assert png_size(icon) == (128, 128)
    assert ElementTree.parse(icon.with_suffix(".svg")).getroot().get("viewBox") == "0 0 128 128"


def test_licence_is_in_the_root():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_readme_has_what_reviewers_of_the_index_ask_for():
    text = (EXTENSION / "README.md").read_text(encoding="utf-8")
    for words in ("CTChest", "MRHead", "cite", "rivacy", "Tutorial", "Troubleshooting", "not a medical device"):
        assert words in text
    assert all(f"**{name}**" in text for name in ("MedDenoise", "MedDenoise Training"))
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (EXTENSION / picture).is_file()


def test_every_control_of_the_panel_has_a_tooltip_and_a_place_in_the_tab_order(module):
    tree = ElementTree.parse(module / "Resources" / "UI" / f"{module.name}.ui")
    stops = [stop.text for stop in tree.iter("tabstop")]
    assert len(stops) == len(set(stops))
    controls = ("QPushButton", "QComboBox", "QLineEdit", "QCheckBox", "QTableWidget", "ctkSliderWidget")
    controls += ("ctkPathLineEdit", "qMRMLNodeComboBox", "ctkCollapsibleButton", "QPlainTextEdit")
    order = [widget for widget in tree.iter("widget") if widget.get("class") in controls]
    assert [widget.get("name") for widget in order if widget.get("name") in stops] == stops
    for widget in order:
        assert widget.get("name") in stops
        if widget.get("class") == "ctkCollapsibleButton":
            continue  # its title says it all
        tip = widget.find("property[@name='toolTip']/string")
        assert tip is not None, widget.get("name")
        assert tip.text


def test_keys_of_the_panel_are_unique(module):
    tree = ElementTree.parse(module / "Resources" / "UI" / f"{module.name}.ui")
    texts = [text.text or "" for text in tree.iterfind(".//property[@name='text']/string")]
    keys = [match[1].lower() for text in texts if (match := re.search(r"&(\w)", text))]
    assert sorted(keys) == sorted(set(keys))

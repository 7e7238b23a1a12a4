"""`meddenoise models`: the models, their versions, and which of them count."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meddenoise.errors import ModelError

if TYPE_CHECKING:
    from meddenoise.weights.store import Version

Commands = argparse._SubParsersAction  # argparse gives the type no public name


def add_models(commands: Commands[argparse.ArgumentParser]) -> None:
    """Teach the command line `models`."""
    text = "list the models and their versions, or change which version counts"
    parser = commands.add_parser("models", help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(metavar="COMMAND")
    actions.add_parser("list", help="list the models").set_defaults(run=_list)
    show = actions.add_parser("show", help="show a model's card and its versions, or the versions of all models")
    show.add_argument("name", metavar="NAME", nargs="?", help="or NAME@VERSION")
    show.add_argument("--json", action="store_true", help="the whole card, versions and comparisons as JSON")
    show.set_defaults(run=_show)
    for action, words in (("activate", "make a version the one that counts"), ("delete", "delete a version")):
        one = actions.add_parser(action, help=words, description=words.capitalize() + ".")
        one.add_argument("name", metavar="NAME")
        one.add_argument("version", metavar="VERSION", help="see `meddenoise models show NAME`")
        one.set_defaults(run=_activate if action == "activate" else _delete)
    words = "go back to the version that was active before"
    back = actions.add_parser("rollback", help=words, description=words.capitalize() + ".")
    back.add_argument("name", metavar="NAME")
    back.set_defaults(run=_rollback)


def _list(arguments: argparse.Namespace) -> int:
    from meddenoise import weights

    for name in weights.available():
        try:
            card = weights.read_card(name)
            print(f"{name:<12} {card.version:<14} {', '.join(card.modalities):<16} {card.description}")
        except ModelError as error:
            print(f"{name:<12} {error}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from meddenoise import weights
    from meddenoise.weights.versions import versions

    if arguments.name is None:
        found = {name: versions(name) for name in weights.available()}
        if arguments.json:
            print(json.dumps({name: [_as_dict(one) for one in each] for name, each in found.items()}, indent=2))
        else:
            for name, each in found.items():
                _print_versions(name, each)
        return 0
    card = asdict(weights.read_card(arguments.name))
    each = versions(card["name"])
    if arguments.json:
        print(json.dumps({**card, "versions": [_as_dict(one) for one in each]}, indent=2, ensure_ascii=False))
        return 0
    for key in ("name", "version", "description", "modalities", "network", "parameters", "gmac", "licence", "sha256"):
        value = card[key]
        print(f"{key:<12} {', '.join(value) if isinstance(value, list) else value}")
    for modality, version in card["elsewhere"].items():
        print(f"{'elsewhere':<12} {modality}: {version}")
    for key in ("training", "figures"):
        for name, value in card[key].items():
            print(f"{key + '.' + name:<24} {f'{len(value)} (see --json)' if isinstance(value, list | dict) else value}")
    _print_versions(card["name"], each)
    return 0


def _activate(arguments: argparse.Namespace) -> int:
    from meddenoise.weights import versions

    card = versions.activate(arguments.name, arguments.version)
    print(f"{card.name} is now {card.version}")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from meddenoise.weights import versions

    card = versions.rollback(arguments.name)
    print(f"{card.name} is now {card.version} again")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    from meddenoise.weights import versions

    versions.delete(arguments.name, arguments.version)
    print(f"{arguments.name} {arguments.version} is deleted")
    return 0


def _print_versions(name: str, versions: list[Version]) -> None:
    from meddenoise.comparison import read

    for one in versions:
        number = one.version if one.version == one.card.version else f"{one.version} ({one.card.version})"
        verdict = (read(one.folder) or {}).get("verdict", "")
        mark = "*" if one.active else " "
        print(f"{mark} {name:<12} {number:<20} {one.made:%Y-%m-%d %H:%M} UTC  {verdict}".rstrip())


def _as_dict(one: Version) -> dict[str, Any]:
    from meddenoise.comparison import pictures_in, read

    return {
        "name": one.version,
        "version": one.card.version,
        "active": one.active,
        "made": one.made.isoformat(timespec="seconds"),
        "folder": str(one.folder),
        "sha256": one.card.sha256,
        "elsewhere": one.card.elsewhere,
        "comparison": read(one.folder),
        "pictures": pictures_in(one.folder),
    }

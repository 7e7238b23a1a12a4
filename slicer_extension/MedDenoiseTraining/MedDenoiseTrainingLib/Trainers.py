"""What a server can train, and with which options, as its route /info/ announces it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

Value = Union[bool, int, float, str]


@dataclass(frozen=True)
class Option:
    """One option of a training.

    Attributes:
        name: By which it is sent.
        default: What it is unless the user says otherwise; its type is that of the option.
        choices: What it may be, the default first; empty where anything of the type may be tried.
        help: What it means, in the server's words; "" where the server does not say.
    """

    name: str
    default: Value
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def title(self) -> str:
        """For the user."""
        return self.name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Trainer:
    """One kind of training.

    Attributes:
        name: Of the training, and of the model that it makes.
        description: In the server's words.
        options: In the server's order.
    """

    name: str
    description: str = ""
    options: tuple[Option, ...] = ()

    @property
    def title(self) -> str:
        """For a list of choices."""
        return self.name.replace("_", " ").replace("-", " ").capitalize()


def trainersOf(said: dict[str, Any], helps: Any) -> tuple[Trainer, ...]:
    """Read what can be trained; what makes no sense is passed over.

    Args:
        said: JSON of the route /info/.
        helps: JSON of the route /train/options, which says what the options mean.
    """
    listed, helps = _object(said.get("trainers")), _object(helps)
    return tuple(_trainer(str(name), _object(about), _object(helps.get(name))) for name, about in listed.items())


def _trainer(name: str, about: dict[str, Any], helps: dict[str, Any]) -> Trainer:
    config = _object(about.get("config"))
    options = (_option(str(key), value, str(helps.get(key) or "")) for key, value in config.items())
    return Trainer(name, str(about.get("description") or ""), tuple(option for option in options if option is not None))


def _object(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def _option(name: str, value: Any, help: str) -> Option | None:
    """A list is a choice whose first entry is the default; None for what no widget can show."""
    if isinstance(value, list) and value:
        choices = tuple(str(choice) for choice in value)
        return Option(name, choices[0], choices, help)
    return Option(name, value, (), help) if isinstance(value, (bool, int, float, str)) else None

"""Widgets for the options of a training, made from what the server announces."""

from __future__ import annotations

from typing import Any

import qt

from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _
from MedDenoiseTrainingLib.Trainers import Option

LARGEST = 2**31 - 1


class OptionError(MedDenoiseError):
    """What was entered for an option is none of its type."""


class OptionForm:
    """One row for each option: a list for choices, a check box, a number or a text.

    Args:
        layout: The layout that gets the form, below what is in it.
    """

    def __init__(self, layout: Any):
        self._layout = layout
        self._holder: Any = None
        self._options: tuple[Option, ...] = ()
        self._widgets: dict[str, Any] = {}

    def show(self, options: tuple[Option, ...]) -> None:
        """Replace what is shown by these, at their defaults."""
        if self._holder is not None:
            self._layout.removeWidget(self._holder)
            self._holder.hide()
            self._holder.deleteLater()
        self._options, self._widgets = options, {}
        self._holder = qt.QWidget()
        form = qt.QFormLayout(self._holder)
        form.setContentsMargins(0, 0, 0, 0)
        for option in options:
            widget = self._widgets[option.name] = _widgetFor(option)
            widget.setObjectName(f"option_{option.name}")
            widget.setToolTip(f"{option.name}: {option.help}" if option.help else option.name)
            form.addRow(f"{option.title}:", widget)
        self._layout.addWidget(self._holder)

    def reset(self, *_args: Any) -> None:
        """Everything as announced."""
        for option in self._options:
            _set(self._widgets[option.name], option, option.default)

    def values(self) -> dict[str, Any]:
        """What is entered, by name.

        Raises:
            OptionError: A number is none.
        """
        return {option.name: _valueOf(self._widgets[option.name], option) for option in self._options}

    def setEnabled(self, on: bool) -> None:
        """Whether anything can be changed."""
        if self._holder is not None:
            self._holder.setEnabled(on)


def _widgetFor(option: Option) -> Any:
    if option.choices:
        widget = qt.QComboBox()
        for choice in option.choices:
            widget.addItem(choice)
    elif isinstance(option.default, bool):
        widget = qt.QCheckBox()
    elif isinstance(option.default, int):
        widget = qt.QSpinBox()
        widget.setRange(-LARGEST, LARGEST)
    else:
        widget = qt.QLineEdit()  # also for numbers: learning rates are read best as 1e-4
    _set(widget, option, option.default)
    return widget


def _set(widget: Any, option: Option, value: Any) -> None:
    if option.choices:
        widget.setCurrentIndex(option.choices.index(value))
    elif isinstance(option.default, bool):
        widget.setChecked(value)
    elif isinstance(option.default, int):
        widget.setValue(value)
    else:
        widget.setText(f"{value:g}" if isinstance(value, float) else value)


def _valueOf(widget: Any, option: Option) -> Any:
    if option.choices:
        return option.choices[widget.property("currentIndex")]
    if isinstance(option.default, bool):
        return bool(widget.property("checked"))
    if isinstance(option.default, int):
        return int(widget.property("value"))
    text = str(widget.property("text")).strip()
    if isinstance(option.default, str):
        return text
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise OptionError(
            _("{title} must be a number, got {text!r}.").format(title=option.title, text=text[:40]),
            _("Enter one such as {default:g}, or press Defaults.").format(default=option.default),
        ) from None

"""The versions of the server's models, and how each compared with the one before it."""

from __future__ import annotations

from typing import Any, Callable

import qt

from MedDenoiseLib.I18n import tr as _
from MedDenoiseTrainingLib.Labels import enable, setText
from MedDenoiseTrainingLib.TrainingTexts import percent
from MedDenoiseTrainingLib.Versions import BUILT_IN, Version, Versions


class VersionsPanel:
    """The last section.

    Args:
        ui: The widgets by name.

    Attributes:
        whenChanged: called when another model or version was chosen.
    """

    def __init__(self, ui: Any):
        self.ui = ui
        self.whenChanged: Callable[[], None] = lambda: None
        self._models: tuple[Versions, ...] = ()
        for table in (ui.versionsTable, ui.casesTable):
            table.verticalHeader().setVisible(False)
        _head(ui.versionsTable, [_("Version"), _("Made"), _("Change of error")])
        _head(ui.casesTable, [_("Images"), _("Error before"), _("Error"), _("Change"), _("Shift")])
        ui.casesTable.setSelectionMode(qt.QAbstractItemView.NoSelection)
        ui.modelBox.currentIndexChanged.connect(self._onModel)
        ui.versionsTable.itemSelectionChanged.connect(self._onVersion)
        self.setModels(())
        self.say("")

    @property
    def model(self) -> Versions | None:
        """The chosen model."""
        index = self.ui.modelBox.property("currentIndex")
        return self._models[index] if 0 <= index < len(self._models) else None

    @property
    def version(self) -> Version | None:
        """The chosen version."""
        model, row = self.model, self.ui.versionsTable.currentRow()
        return model.listed[row] if model is not None and 0 <= row < len(model.listed) else None

    def setModels(self, models: tuple[Versions, ...]) -> None:
        """Show what a server has; the chosen model and version stay chosen where they are still there."""
        model, version = self.model, self.version
        box = self.ui.modelBox
        box.blockSignals(True)
        box.clear()
        self._models = models
        for one in models:
            box.addItem(one.model)
        names = [one.model for one in models]
        kept = model.model if model is not None else ""
        box.setCurrentIndex(names.index(kept) if kept in names else 0 if names else -1)
        box.blockSignals(False)
        self._fill(version.name if version is not None and model is not None else "")

    def chooseModel(self, name: str) -> None:
        """Choose a model, if there is one of this name."""
        names = [one.model for one in self._models]
        if name in names:
            self.ui.modelBox.setCurrentIndex(names.index(name))

    def chooseActive(self) -> None:
        """Choose the active version of the chosen model."""
        self._fill("")

    def refusals(self) -> dict[str, str]:
        """Why "activate", "rollBack" and "delete" cannot be done as things stand; "" where they can."""
        model, version = self.model, self.version
        if model is None:
            return dict.fromkeys(("activate", "rollBack", "delete"), _("The server shows no versions."))
        none = "" if version is not None else _("Choose a version first.")
        active = _("This version is active.") if version is not None and version.active else ""
        builtIn = version is not None and version.name == BUILT_IN
        return {
            "activate": none or active,
            "rollBack": "" if len(model.listed) > 1 else _("There is only one version."),
            "delete": none or active or (_("The built-in version cannot be deleted.") if builtIn else ""),
        }

    def enable(self, refusal: str) -> None:
        """Enable what can be pressed, and say of the rest why not.

        Args:
            refusal: Why nothing can be asked of the server now, "" where something can.
        """
        ui, reasons = self.ui, self.refusals()
        enable(ui.activateButton, refusal or reasons["activate"], _("Uses the chosen version from now on."))
        enable(ui.rollBackButton, refusal or reasons["rollBack"], _("Goes back to the version that was active before."))
        enable(ui.deleteButton, refusal or reasons["delete"], _("Deletes the chosen version; asks before."))
        enable(ui.refreshButton, refusal, _("Asks the server again."))

    def say(self, text: str) -> None:
        """Show what became of a change."""
        setText(self.ui.versionsText, text)

    def _fill(self, chosen: str) -> None:
        """The table of the chosen model; without a choice the active version is chosen."""
        table, model = self.ui.versionsTable, self.model
        listed = model.listed if model is not None else ()
        table.blockSignals(True)
        table.clearContents()
        table.setRowCount(len(listed))
        for row, version in enumerate(listed):
            title = f"{version.number} ({_('built-in')})" if version.name == BUILT_IN else version.number
            cells = [f"{title} ← {_('active')}" if version.active else title, version.made]
            cells.append(percent(version.change, version.uncertainty))
            _setRow(table, row, cells, version.description, bold=version.active)
        names = [version.name for version in listed]
        active = next((row for row, version in enumerate(listed) if version.active), 0)
        if listed:
            table.setCurrentCell(names.index(chosen) if chosen in names else active, 0)
        _fit(table)
        table.blockSignals(False)
        self._onVersion()

    def _onModel(self, *_args: Any) -> None:
        self._fill("")

    def _onVersion(self, *_args: Any) -> None:
        model, version = self.model, self.version
        problem = model.problem if model is not None else ""
        setText(self.ui.versionText, problem or (_verdict(version) if version is not None else ""))
        cases = version.cases if version is not None else ()
        table = self.ui.casesTable
        table.setVisible(bool(cases))
        table.clearContents()
        table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            name = f"{case.name}, {case.modality}"
            cells = [name, _figure(case.errors[0]), _figure(case.errors[1]), percent(case.change)]
            _setRow(table, row, [*cells, _figure(case.shifts[1], case.units)], f"{name}: {case.kind}")
        _fit(table)
        self.whenChanged()


def _verdict(version: Version) -> str:
    if not version.verdict:
        return _("The installed version.") if version.name == BUILT_IN else _("Not compared with another version.")
    return version.verdict[:1].upper() + version.verdict[1:].rstrip(".") + "."


def _figure(value: float | None, units: str = "") -> str:
    return "" if value is None else f"{value:.3g} {units}".strip()


def _head(table: Any, titles: list[str]) -> None:
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)


def _setRow(table: Any, row: int, cells: list[str], tip: str, bold: bool = False) -> None:
    for column, text in enumerate(cells):
        item = qt.QTableWidgetItem(text)
        item.setToolTip(tip)
        font = item.font()
        font.setBold(bold)
        item.setFont(font)
        table.setItem(row, column, item)


def _fit(table: Any) -> None:
    """As high as its rows."""
    table.resizeRowsToContents()
    rows = sum(table.rowHeight(row) for row in range(int(table.property("rowCount"))))
    table.setFixedHeight(table.horizontalHeader().property("height") + rows + 4)

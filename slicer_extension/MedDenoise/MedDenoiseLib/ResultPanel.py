"""What came back: strength, views, figures, warnings, and what to do with a result."""

from __future__ import annotations

from typing import Any, Callable

import qt

from MedDenoiseLib import Texts
from MedDenoiseLib.Delay import Delay
from MedDenoiseLib.Errors import MedDenoiseError
from MedDenoiseLib.I18n import tr as _

FLICKER_KEY = "D"
MIX_MILLISECONDS, FIGURES_MILLISECONDS = 30, 400
"""A dragged slider mixes at this pace; the figures follow once it rests."""


class ResultPanel:
    """The lower section, about the comparison on display.

    Args:
        ui: The widgets by name.
        logic: Logic.
        scene: The vtkMRMLScene that the selector of regions lists.
        askFolder: askFolder() -> a folder the user chose, "" for none.
        ask: ask(question) -> bool, a question with Yes and No.
    """

    def __init__(self, ui: Any, logic: Any, scene: Any, askFolder: Callable[[], str], ask: Callable[[str], bool]):
        self.ui = ui
        self.logic = logic
        self._askFolder = askFolder
        self._ask = ask
        self._updating = False
        self._listed: list = []
        self._mix = Delay(self._onMix, MIX_MILLISECONDS)
        self._figures = Delay(self.showFigures, FIGURES_MILLISECONDS, restart=True)
        ui.figuresTable.setColumnCount(3)
        ui.figuresTable.verticalHeader().setVisible(False)
        header = ui.figuresTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.measureSelector.setMRMLScene(scene)
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        ui.comparisonBox.currentIndexChanged.connect(self._onComparison)
        ui.keepButton.clicked.connect(self._onKeep)
        ui.removeButton.clicked.connect(self._onRemove)
        ui.strengthSlider.valueChanged.connect(self._onStrength)
        ui.compareButton.clicked.connect(self._onCompare)
        ui.flickerButton.clicked.connect(self.flicker)
        ui.restoreButton.clicked.connect(self._onRestore)
        ui.linkWindowsBox.toggled.connect(self._onLink)
        ui.mapBox.toggled.connect(self._onMap)
        ui.measureSelector.currentNodeChanged.connect(self._onRegion)
        ui.measureSelector.nodeAddedByUser.connect(self._onNewRegion)
        ui.segmentBox.currentIndexChanged.connect(self._onSegment)
        ui.measureButton.clicked.connect(self._onMeasure)
        ui.exportButton.clicked.connect(self._onExport)

    def update(self) -> None:
        """Show the scene's comparisons and the one on display."""
        shown, ui = self.logic.shown, self.ui
        self._updating = True
        self._listed = self.logic.comparisons
        ui.comparisonBox.clear()
        for comparison in self._listed:
            ui.comparisonBox.addItem(comparison.name)
        ui.comparisonBox.setCurrentIndex(self._listed.index(shown) if shown in self._listed else -1)
        ui.strengthSlider.setValue(100 * shown.strength if shown is not None else 100)
        ui.linkWindowsBox.setChecked(self.logic.parameters.linkWindows)
        uncertainty = shown.uncertainty if shown is not None else None
        ui.mapBox.setChecked(uncertainty is not None and self.logic.layout.shows(uncertainty))
        ui.flickerButton.setChecked(not self.logic.layout.denoisedOnTop)
        ui.measureSelector.setCurrentNode(self.logic.parameters.statisticsRegion)
        self._fillSegments()
        self._updating = False
        self._enable(shown)
        self._show(ui.warningsText, "\n".join(f"⚠ {text}" for text in shown.warnings) if shown is not None else "")

    def showFigures(self) -> None:
        """Fill the table for the comparison on display and the region chosen."""
        shown, parameters = self.logic.shown, self.logic.parameters
        rows: list = []
        message = ""
        if shown is not None:
            try:
                rows = self.logic.statistics(shown, parameters.statisticsRegion, parameters.statisticsSegment)
            except MedDenoiseError as error:
                message = f"{error} {error.advice}".strip()
        self._show(self.ui.resultText, message)
        self._fillTable(rows)

    def flicker(self, *_args: Any) -> None:
        """Swap original and denoised in the middle view; the button and the key do this."""
        shown = self.logic.shown
        if shown is None:
            return
        if not self.logic.layout.shown:
            self._onCompare()
        denoisedOnTop = self.logic.flicker()
        self.ui.flickerButton.setChecked(not denoisedOnTop)

    def stop(self) -> None:
        """Do nothing more by timers: the scene closes, or the panel goes away."""
        self._mix.stop()
        self._figures.stop()

    def _fillTable(self, rows: list) -> None:
        table = self.ui.figuresTable
        table.clearContents()
        table.setHorizontalHeaderLabels([_("Figure"), _("Original"), _("Denoised")])
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            name = f"{row.quantity} ({row.unit})" if row.unit else row.quantity
            for column, text in enumerate((name, figure(row.original), figure(row.denoised))):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(str(row.source))
                table.setItem(number, column, item)
        table.resizeRowsToContents()
        rowHeights = sum(table.rowHeight(number) for number in range(len(rows)))
        table.setFixedHeight(table.horizontalHeader().property("height") + rowHeights + 4)

    def _fillSegments(self) -> None:
        """List the segments where the region is a segmentation."""
        node, box = self.logic.parameters.statisticsRegion, self.ui.segmentBox
        segmentation = node.GetSegmentation() if node is not None and node.IsA("vtkMRMLSegmentationNode") else None
        box.clear()
        box.setVisible(segmentation is not None)
        for index in range(segmentation.GetNumberOfSegments() if segmentation is not None else 0):
            identity = segmentation.GetNthSegmentID(index)
            box.addItem(segmentation.GetSegment(identity).GetName(), identity)
            if identity == self.logic.parameters.statisticsSegment:
                box.setCurrentIndex(index)

    def _enable(self, shown: Any) -> None:
        ui = self.ui
        for widget in (ui.comparisonBox, ui.keepButton, ui.removeButton, ui.strengthSlider, ui.compareButton):
            widget.setEnabled(shown is not None or (widget is ui.comparisonBox and bool(self._listed)))
        for widget in (ui.flickerButton, ui.linkWindowsBox, ui.figuresTable, ui.measureSelector, ui.measureButton):
            widget.setEnabled(shown is not None)
        ui.exportButton.setEnabled(shown is not None)
        ui.mapBox.setEnabled(shown is not None and shown.uncertainty is not None)
        ui.restoreButton.setEnabled(self.logic.layout.canRestore)

    def _onComparison(self, *_args: Any) -> None:
        index = self.ui.comparisonBox.property("currentIndex")
        if not self._updating and 0 <= index < len(self._listed):
            self.logic.show(self._listed[index])
            self.update()
            self.showFigures()

    def _onKeep(self, *_args: Any) -> None:
        self.logic.keep(self.logic.shown)
        self._showLast()

    def _onRemove(self, *_args: Any) -> None:
        shown = self.logic.shown
        if shown is not None and self._ask(_("Remove {name} with its volumes?").format(name=shown.name)):
            self.logic.remove(shown)
            self._showLast()

    def _showLast(self) -> None:
        """After one went: the newest of those that are left."""
        if self.logic.comparisons:
            self.logic.show(self.logic.comparisons[-1])
        self.update()
        self.showFigures()

    def _onStrength(self, *_args: Any) -> None:
        if not self._updating:
            self._mix.ask()

    def _onMix(self) -> None:
        shown = self.logic.shown
        if shown is None:
            return
        try:
            self.logic.setStrength(shown, self.ui.strengthSlider.property("value") / 100)
        except Exception as error:
            self._show(self.ui.resultText, Texts.inWords(error))
        else:
            self._figures.ask()

    def _onCompare(self, *_args: Any) -> None:
        if self.logic.shown is not None:
            self.logic.show(self.logic.shown)
            self.update()

    def _onRestore(self, *_args: Any) -> None:
        self.logic.restoreLayout()
        self.update()

    def _onLink(self, *_args: Any) -> None:
        if not self._updating:
            self.logic.linkWindows(self.ui.linkWindowsBox.property("checked"))

    def _onMap(self, *_args: Any) -> None:
        if not self._updating:
            self.logic.showUncertainty(self.ui.mapBox.property("checked"))

    def _onRegion(self, *_args: Any) -> None:
        if not self._updating:
            self.logic.parameters.statisticsRegion = self.ui.measureSelector.currentNode()
            self._updating = True
            self._fillSegments()
            self._updating = False
            self._onSegment()

    def _onNewRegion(self, *_args: Any) -> None:
        """A box that was just made is placed on the image, a curve is drawn by the next clicks into a view."""
        region, shown = self.ui.measureSelector.currentNode(), self.logic.shown
        if region is not None and shown is not None:
            self.logic.startDrawing(region, shown.original)
            self.showFigures()

    def _onSegment(self, *_args: Any) -> None:
        if not self._updating:
            self.logic.parameters.statisticsSegment = self._segment()
            self.showFigures()

    def _segment(self) -> str:
        """Id of the chosen segment, "" where the region is no segmentation."""
        box = self.ui.segmentBox
        index = box.property("currentIndex")
        return box.itemData(index) if index >= 0 else ""

    def _onMeasure(self, *_args: Any) -> None:
        self.showFigures()

    def _onExport(self, *_args: Any) -> None:
        folder = self._askFolder()
        if not folder:
            return
        try:
            files = self.logic.exportDicom(self.logic.shown, folder)
        except Exception as error:
            self._show(self.ui.resultText, Texts.inWords(error))
        else:
            done = _("Wrote {count} DICOM files to {folder}.").format(count=len(files), folder=folder)
            self._show(self.ui.resultText, done)

    @staticmethod
    def _show(label: Any, text: str) -> None:
        label.setText(text)
        label.setVisible(bool(text))


def figure(value: Any) -> str:
    """A number as the table shows it: three significant digits, nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3g}"

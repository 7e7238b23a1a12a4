"""Stands in for 3D Slicer's module `ctk`: the widgets that the panel uses, under CTK's names."""

from PySide6 import QtCore, QtWidgets


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    """A section with a title that can be folded."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed, self._folded = False, []

    text = QtCore.Property(str, QtWidgets.QGroupBox.title, QtWidgets.QGroupBox.setTitle)

    def setCollapsed(self, collapsed):
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        children = self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly)
        if collapsed:
            self._folded = [child for child in children if not child.isHidden()]
        for child in self._folded:
            child.setVisible(not collapsed)
        self.contentsCollapsed.emit(collapsed)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, setCollapsed)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider beside a spin box, in fractions of a step."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._slider.valueChanged.connect(lambda value: self._box.setValue(value * self._box.singleStep()))
        self._box.valueChanged.connect(self._changed)

    def _changed(self, value):
        self._slider.blockSignals(True)
        self._slider.setValue(round(value / self._box.singleStep()))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._box.setValue(value)

    def setMinimum(self, value):
        self._box.setMinimum(value)
        self._slider.setMinimum(round(value / self._box.singleStep()))

    def setMaximum(self, value):
        self._box.setMaximum(value)
        self._slider.setMaximum(round(value / self._box.singleStep()))

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), setMinimum)
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), setMaximum)
    singleStep = QtCore.Property(float, lambda self: self._box.singleStep(), lambda self, x: self._box.setSingleStep(x))
    pageStep = QtCore.Property(
        float, lambda self: self._slider.pageStep(), lambda self, x: self._slider.setPageStep(round(x))
    )
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), lambda self, x: self._box.setDecimals(x))
    suffix = QtCore.Property(str, lambda self: self._box.suffix(), lambda self, x: self._box.setSuffix(x))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path and a button that opens a file dialog."""

    currentPathChanged = QtCore.Signal(str)
    Files, Readable = 2, 16

    def __init__(self, parent=None):
        super().__init__(parent)
        self._line = QtWidgets.QLineEdit()
        self._button = QtWidgets.QToolButton()
        self._button.setText("…")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)
        row.addWidget(self._button)
        self.setFocusProxy(self._line)
        self._line.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path):
        self._line.setText(path)

    currentPath = QtCore.Property(str, lambda self: self._line.text(), setCurrentPath)
    settingKey = QtCore.Property(str, lambda _self: "", lambda _self, _key: None)

"""Stands in for the parts of the 3D Slicer application that slicer-core lacks. The scene and all its logic are real.

`installed()` puts the stand-ins where the extension looks for them: `qt`, `ctk`, `slicer.app`,
`slicer.ScriptedLoadableModule`, the qMRML widgets, and `slicer.util.loadUI`.
"""

import contextlib
import re
import sys
import types
import unittest
import unittest.mock
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtCore, QtUiTools, QtWidgets

import ctk_stand_in
import qt_stand_in
import scene


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the nodes of a scene by their type, follows the scene, and gives the chosen one."""

    currentNodeChanged = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._ids, self._tags = None, [], []
        self._types, self._options = [], {"noneDisplay": "None"}
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.currentIndexChanged.connect(lambda _index: self.currentNodeChanged.emit(self.currentNode()))

    nodeTypes = QtCore.Property(list, lambda self: self._types, lambda self, types: self._set(types))

    def _set(self, types):
        self._types = [str(each) for each in types]

    def setNodeTypes(self, types):
        self._set(types)
        self._refresh()

    def _option(name, kind):  # noqa: N805
        return QtCore.Property(
            kind, lambda self: self._options.get(name, False), lambda self, value: self._options.update({name: value})
        )

    showChildNodeTypes = _option("showChildNodeTypes", bool)
    noneEnabled = _option("noneEnabled", bool)
    addEnabled = _option("addEnabled", bool)
    removeEnabled = _option("removeEnabled", bool)
    noneDisplay = _option("noneDisplay", str)

    def setMRMLScene(self, scene):
        before = self.currentNode()
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        events = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent)
        events += (slicer.vtkMRMLScene.EndBatchProcessEvent, slicer.vtkMRMLScene.EndCloseEvent)
        self._tags = [scene.AddObserver(event, self._refresh) for event in events] if scene else []
        self._refresh()
        if before is not None and scene is None:
            self.currentNodeChanged.emit(None)

    def _wanted(self, node):
        exact = self._options.get("showChildNodeTypes") is False
        named = node.GetClassName() in self._types if exact else any(node.IsA(each) for each in self._types)
        return named and not node.GetHideFromEditors()

    def _refresh(self, *_):
        before = self.currentNode()
        nodes = [] if self._scene is None else list(slicer.util.getNodesByClass("vtkMRMLNode", self._scene))
        nodes = [node for node in nodes if self._wanted(node)]
        blocked = self.blockSignals(True)
        self.clear()
        self._ids = [None, *(node.GetID() for node in nodes)]
        self.addItems([self._options["noneDisplay"], *(node.GetName() for node in nodes)])
        kept = before.GetID() if before is not None else None
        self.setCurrentIndex(self._ids.index(kept) if kept in self._ids else 0)
        self.blockSignals(blocked)
        if (before is not None) != (self.currentNode() is not None):
            self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self):
        index = self.currentIndex()
        known = self._scene is not None and 0 < index < len(self._ids)
        return self._scene.GetNodeByID(self._ids[index]) if known else None

    def setCurrentNode(self, node):
        identity = node.GetID() if node is not None else None
        self.setCurrentIndex(self._ids.index(identity) if identity in self._ids else 0)

    def mrmlScene(self):
        return self._scene


WIDGETS = {"qMRMLNodeComboBox": qMRMLNodeComboBox} | {
    name: getattr(ctk_stand_in, name) for name in ("ctkCollapsibleButton", "ctkSliderWidget", "ctkPathLineEdit")
}


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, name, parent=None, title=""):
        if name not in WIDGETS:
            return super().createWidget(name, parent, title)
        widget = WIDGETS[name](parent)
        widget.setObjectName(title)
        return widget


def loadUI(path):
    """What slicer.util.loadUI does, with the stand-ins in place of CTK's and qMRML's widgets."""
    file = QtCore.QFile(str(path))
    assert file.open(QtCore.QFile.ReadOnly), path
    widget = _Loader().load(file)
    file.close()
    return widget


def childWidgetVariables(widget):
    """The named widgets below a widget, as attributes."""
    ui = types.SimpleNamespace()
    for child in widget.findChildren(QtCore.QObject):
        if child.objectName() and not child.objectName().startswith("qt_"):
            setattr(ui, child.objectName(), child)
    return ui


class Application:
    """slicer.app over a scene with its logics."""

    def __init__(self, inside):
        self.inside = inside
        self.started = []

    def connect(self, signal, function):
        """Only startupCompleted() is asked for."""
        assert signal == "startupCompleted()"
        self.started.append(function)

    def applicationLogic(self):
        return self.inside.logic

    def layoutManager(self):
        return LayoutManager(self.inside.layoutLogic)

    def testingEnabled(self):
        return True

    def processEvents(self):
        QtWidgets.QApplication.processEvents()


class LayoutManager:
    """slicer.app.layoutManager(): its logic is real, there are no widgets."""

    def __init__(self, logic):
        self._logic = logic

    def layoutLogic(self):
        return self._logic

    @property
    def layout(self):
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, number):
        self._logic.GetLayoutNode().SetViewArrangement(number)

    def sliceViewNames(self):
        return [node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]


class ScriptedLoadableModule:
    """What the application makes first: it describes the module."""

    def __init__(self, parent):
        self.parent = parent

    def getDefaultModuleDocumentationLink(self):
        return '<p>For more information see the <a href="https://slicer.readthedocs.io">documentation</a>.</p>'


class ScriptedLoadableModuleWidget:
    """What the application makes when the module is opened for the first time."""

    def __init__(self, parent=None):
        self.parent = parent if parent is not None else QtWidgets.QWidget()
        if self.parent.layout() is None:
            QtWidgets.QVBoxLayout(self.parent)
        self.layout = self.parent.layout()
        self.moduleName = re.sub("Widget$", "", type(self).__name__)
        self.developerMode = False

    def resourcePath(self, name):
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)

    def setup(self):
        """Adds the developer's section in the real one."""

    def cleanup(self):
        """For children."""


class ScriptedLoadableModuleLogic:
    """The base of scripted logics."""

    def __init__(self, parent=None):
        self.parent = parent


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self-test that the application runs; quiet here."""

    messageDelay = 0

    def delayDisplay(self, message, *_):
        self.lastMessage = message


def _module():
    """slicer.ScriptedLoadableModule."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for each in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, each.__name__, each)
    return module


@contextlib.contextmanager
def installed():
    """Put the stand-ins in place over a fresh scene, hand out what scene.Application holds, and take all away again."""
    sys.modules["qt"], sys.modules["ctk"] = qt_stand_in, ctk_stand_in
    sys.modules["slicer.ScriptedLoadableModule"] = module = _module()
    inside = scene.Application()
    colors = types.SimpleNamespace(logic=lambda: inside.colorLogic)
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (slicer, "ScriptedLoadableModule", module),
            (slicer, "app", Application(inside)),
            (slicer, "modules", types.SimpleNamespace(colors=colors)),
            (slicer.util, "loadUI", loadUI),
            (slicer.util, "childWidgetVariables", childWidgetVariables),
            (slicer.util, "mainWindow", lambda: None),
        ):
            stack.enter_context(unittest.mock.patch.object(owner, name, value, create=True))
        yield inside
        inside.close()

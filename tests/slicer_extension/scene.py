"""What 3D Slicer sets up before a module runs, as far as slicer-core goes: scene, logics, colors, slice views."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer.util  # noqa: E402, F811
import vtk  # noqa: E402


class Application:
    """A scene with the logics that 3D Slicer's application would have attached.

    Attributes:
        scene: vtkMRMLScene.
        logic: vtkSlicerApplicationLogic with slice logics that follow the scene's slice nodes.
        layoutNode: The vtkMRMLLayoutNode.
        volumesLogic: vtkSlicerVolumesLogic.
        colorLogic: vtkSlicerColorLogic.
    """

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene  # slicer.util looks it up
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.SetSliceLogics(vtk.vtkCollection())
        self.logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.colors = self._module(slicer.vtkMRMLColorLogic, "Colors")
        self.colors.AddDefaultColorNodes()
        self.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
        self.colorLogic = slicer.vtkSlicerColorLogic()  # without a scene: it would look for Slicer's own color files
        self.volumesLogic = self._module(slicer.vtkSlicerVolumesLogic, "Volumes")
        others = {
            "Sequences": slicer.vtkSlicerSequencesLogic,
            "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
        }
        self.others = [self._module(logic, name) for name, logic in others.items()]  # they make their nodes known
        self.linkLogic = slicer.vtkMRMLSliceLinkLogic()
        self.linkLogic.SetMRMLApplicationLogic(self.logic)
        self.linkLogic.SetMRMLScene(self.scene)
        self.layoutLogic = slicer.vtkMRMLLayoutLogic()
        self.layoutLogic.SetMRMLApplicationLogic(self.logic)
        self._observation = self.scene.AddObserver(self.scene.NodeAddedEvent, self._nodeAdded)
        self._nodeAdded.__func__.CallDataType = vtk.VTK_OBJECT
        self.layoutLogic.SetMRMLScene(self.scene)
        self.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    @property
    def layoutNode(self):
        return self.layoutLogic.GetLayoutNode()

    def close(self):
        """Takes the scene away from its logics first: they would make singleton nodes anew without end."""
        self.scene.RemoveObserver(self._observation)
        slices = self.logic.GetSliceLogics()
        logics = [slices.GetItemAsObject(index) for index in range(slices.GetNumberOfItems())]
        for logic in (*logics, self.linkLogic, self.layoutLogic, *self.others, self.volumesLogic, self.colors):
            logic.SetMRMLScene(None)
            logic.SetMRMLApplicationLogic(None)
        slices.RemoveAllItems()
        for name in ("Colors", "Volumes", "Sequences", "Segmentations"):
            self.logic.SetModuleLogic(name, None)
        self.logic.SetMRMLScene(None)
        self.scene.Clear(1)
        slicer.mrmlScene = None

    def _module(self, logicClass, name):
        logic = logicClass()
        logic.SetMRMLApplicationLogic(self.logic)
        logic.SetMRMLScene(self.scene)
        self.logic.SetModuleLogic(name, logic)
        return logic

    def _nodeAdded(self, _scene, _event, node):
        """Gives each new slice view its logic, as 3D Slicer's layout manager does."""
        if not node.IsA("vtkMRMLSliceNode") or self.logic.GetSliceLogic(node):
            return
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.logic)
        logic.SetMRMLScene(self.scene)
        logic.SetSliceNode(node)
        logic.ResizeSliceNode(300, 300)
        self.logic.GetSliceLogics().AddItem(logic)

    def mapViews(self):
        """Marks the slice views of the present layout as being on the screen, as the layout manager does."""
        shown = self.layoutLogic.GetViewNodes()
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetMappedInLayout(shown.IsItemPresent(node) > 0)

    _nodeAdded.CallDataType = vtk.VTK_OBJECT

    def volume(self, array, name="CT of Jane Doe", window=(400.0, 40.0), grid=None):
        """A scalar volume with a display node, on a 4x4 grid (IJK to RAS)."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, array)
        if grid is not None:
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(grid, float)))
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(0)
        display.SetWindowLevel(*window)
        return node

    def sequence(self):
        """A sequence of three volumes, and the proxy that shows its current frame."""
        sequence = self.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
        for frame in range(3):
            sequence.SetDataNodeAtValue(self.volume(phantom(seed=frame)), str(frame))
        browser = self.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        return sequence, browser.AddProxyNode(sequence.GetNthDataNode(1), sequence, True)


def grid(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), angle=0.0, leftHanded=False):
    """4x4 IJK to RAS: turned about two axes by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([1, 1, -1 if leftHanded else 1]) @ np.diag(spacing)
    matrix[:3, 3] = origin
    return matrix


GRIDS = {
    "oblique": grid((0.7, 0.7, 0.7), (10, -20, 30), 0.3),
    "anisotropic": grid((0.5, 0.9, 5.0), (-120.5, 33.25, -700)),
    "left-handed": grid((0.7, 0.9, 3.3), (10, -20, 30), 0.3, leftHanded=True),
    "LPS": np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid((0.8, 0.8, 2.0), (100, 100, -50)),
}


def phantom(shape=(6, 20, 24), dtype=np.int16, seed=0):
    """Noise about a bright block in the middle, in the range of any type."""
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    image = noise + 60.0
    rows, columns = (slice(side // 4, 3 * side // 4) for side in shape[1:])
    image[:, rows, columns] += 100.0
    image = np.clip(image, 0, 250)
    return image.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(image).astype(dtype)


@pytest.fixture(name="app")
def applicationOfTest():
    application = Application()
    yield application
    application.close()


@dataclasses.dataclass
class Answer:
    """What the client brings back, made by a stand-in server."""

    volumePath: str
    uncertaintyPath: str | None = None
    figures: dict = dataclasses.field(default_factory=dict)
    warnings: tuple = ()
    model: str = "student"
    version: str = "1.2"


FIGURES = {"noise_before": 8.0, "noise_after": 2.0, "bias": 0.5, "rms_change": 7.5, "units": "HU"}


def serve(prepared, denoise, spread=None, **said):
    """Answers a Prepared with ``denoise(voxels)``, in a file written and read by other means than ours."""
    fields, values = readNrrd(prepared.path)
    folder = Path(prepared.path).parent
    files = [folder / "answer.nrrd", folder / "spread.nrrd"]
    writeNrrd(files[0], fields, denoise(values))
    if spread is not None:
        writeNrrd(files[1], fields, spread(values).astype(np.float32))
    return Answer(str(files[0]), str(files[1]) if spread is not None else None, **{"figures": FIGURES, **said})


def smooth(values):
    """A denoiser of sorts: halfway to the mean of each slice, in the values' own type."""
    means = values.mean(axis=(1, 2), keepdims=True)
    return ((values + means) / 2).astype(values.dtype)


NRRD_TYPES = {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
NRRD_TYPES.update({"float": "f4", "double": "f8"})
OTHER_NAMES = {"short": "int16", "unsigned short": "uint16", "unsigned char": "uint8"}


def readNrrd(path):
    """Header fields and voxels (slices, rows, columns) of a raw NRRD."""
    head, _, data = Path(path).read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:] if not line.startswith("#"))
    shape = [int(side) for side in fields["sizes"].split()][::-1]
    return fields, np.frombuffer(data, NRRD_TYPES[OTHER_NAMES.get(fields["type"], fields["type"])]).reshape(shape)


def writeNrrd(path, fields, values):
    names = {numpy: name for name, numpy in NRRD_TYPES.items()}
    sizes = " ".join(str(side) for side in values.shape[::-1])
    fields = {**fields, "type": names[values.dtype.str[1:]], "sizes": sizes}
    lines = ["NRRD0004", *(f"{key}: {value}" for key, value in fields.items())]
    Path(path).write_bytes("\n".join(lines).encode() + b"\n\n" + np.ascontiguousarray(values).tobytes())


def vectors(text):
    """ "(1,0,0) (0,1,0)" as an array, one vector a row."""
    return np.array([[float(number) for number in part.strip("()").split(",")] for part in text.split()])


def compare(app, folder, array=None, where=None, denoise=smooth, **said):
    """A phantom in the scene, denoised: the logic and its comparison."""
    from MedDenoiseLib.Logic import Logic

    node = app.volume(phantom() if array is None else array, grid=where)
    logic = Logic(app.scene, app.logic, app.colorLogic)
    prepared = logic.prepare(node, None, str(folder))
    return logic, logic.accept(prepared, serve(prepared, denoise, **said))

"""One denoising kept in the scene: its images, and what made them."""

from __future__ import annotations

import json
from typing import Any

import slicer

MODULE = "MedDenoise"
MARK = "MedDenoise.Comparison"
ROLES = ("original", "denoised", "difference", "uncertainty", "answer")


class Comparison:
    """Original, denoised and difference that belong together, held by a vtkMRMLScriptedModuleNode of its own.

    The node refers to the images and is saved with the scene, so comparisons are found again after loading. Two objects
    for the same node are equal.

    Attributes:
        node: The vtkMRMLScriptedModuleNode.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: Any, name: str, **nodes: Any) -> Comparison:
        """Puts a new one into the scene; ``nodes`` by role, see ROLES."""
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetName(name)
        node.SetModuleName(MODULE)
        node.SetAttribute(MARK, "1")
        node.SetHideFromEditors(True)
        comparison = cls(scene.AddNode(node))
        for role, held in nodes.items():
            comparison.refer(role, held)
        return comparison

    @classmethod
    def allIn(cls, scene: Any) -> list[Comparison]:
        """All complete ones of a scene, oldest first."""
        nodes = scene.GetNodesByClass("vtkMRMLScriptedModuleNode")
        nodes.UnRegister(None)
        marked = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        return [cls(node) for node in marked if node.GetAttribute(MARK) and cls(node).complete]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Comparison) and other.node is self.node

    def __hash__(self) -> int:
        return hash(self.node)

    @property
    def id(self) -> str:
        """MRML id of the node; Parameters.shown holds it."""
        return self.node.GetID() or ""

    @property
    def name(self) -> str:
        """For a list: the image's name and the model."""
        return self.node.GetName()

    @property
    def original(self) -> Any:
        """The input volume, never changed by us; None where the user removed it."""
        return self.node.GetNodeReference("original")

    @property
    def denoised(self) -> Any:
        """The volume on display: the mix of original and answer at the present strength."""
        return self.node.GetNodeReference("denoised")

    @property
    def difference(self) -> Any:
        """Original minus denoised, float32, at the present strength."""
        return self.node.GetNodeReference("difference")

    @property
    def uncertainty(self) -> Any:
        """The server's uncertainty map, or None."""
        return self.node.GetNodeReference("uncertainty")

    @property
    def answer(self) -> Any:
        """What the server sent, at full strength: a volume of its own once the strength was changed, else denoised.

        Deleted while a weaker mix is shown, it cannot be had any more; the comparison is then not complete.
        """
        return self.node.GetNodeReference("answer") or self.denoised

    @property
    def complete(self) -> bool:
        """Whether original, denoised, difference and the answer at full strength are all still in the scene."""
        answered = self.strength == 1.0 or self.node.GetNodeReference("answer") is not None
        return answered and all((self.original, self.denoised, self.difference))

    @property
    def results(self) -> list[Any]:
        """The nodes made by us, without the original."""
        return [node for node in (self.node.GetNodeReference(role) for role in ROLES[1:]) if node]

    @property
    def model(self) -> str:
        """Name of the server's model."""
        return self.node.GetParameter("model")

    @property
    def version(self) -> str:
        """Version of the model, as the server says it."""
        return self.node.GetParameter("version")

    @property
    def modality(self) -> str:
        """What the image was denoised as."""
        return self.node.GetParameter("modality")

    @property
    def figures(self) -> dict[str, Any]:
        """The server's numbers, at full strength, as it sent them."""
        return json.loads(self.node.GetParameter("figures") or "{}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences: the server's, and ours about region and geometry."""
        return tuple(json.loads(self.node.GetParameter("warnings") or "[]"))

    @property
    def limited(self) -> bool:
        """Whether only a region was sent; the server's figures are then those of the region with its margin."""
        return self.node.GetParameter("limited") == str(True)

    @property
    def strength(self) -> float:
        """Strength that denoised and difference show now, 0 to 1."""
        return float(self.node.GetParameter("strength") or 1.0)

    @strength.setter
    def strength(self, value: float) -> None:
        self.node.SetParameter("strength", repr(float(value)))

    def refer(self, role: str, node: Any) -> None:
        """Makes ``node`` (None: nothing) the one in this role."""
        self.node.SetNodeReferenceID(role, node.GetID() if node else None)

    def describe(self, **said: Any) -> None:
        """Keeps model, version, modality, limited (texts), figures (dict) or warnings (sequence of texts)."""
        for name, value in said.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self.node.SetParameter(name, text)

"""Stands in for 3D Slicer's module `qt`: all of Qt's names in one place, on PySide6 instead of PythonQt."""

from PySide6 import QtCore, QtGui, QtWidgets


def __getattr__(name):
    for module in (QtCore, QtGui, QtWidgets):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"Qt has no {name}")


def Signal(*_types):
    """PythonQt's crash Slicer: no code of an extension may define one."""
    raise AssertionError("qt.Signal crashes 3D Slicer; use a plain Python callback")

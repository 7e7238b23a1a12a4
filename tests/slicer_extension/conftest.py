"""Makes the extension's files importable as 3D Slicer does: all of its modules lie flat on sys.path."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

for folder in (ROOT / "slicer_extension" / "MedDenoise", HERE):  # the extension; the stand-ins beside the tests
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

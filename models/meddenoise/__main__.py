"""`python -m meddenoise` is the command `meddenoise`."""

import sys

from meddenoise.cli import main

if __name__ == "__main__":
    sys.exit(main())

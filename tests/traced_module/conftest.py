"""models.py, edits.py and record_graphs.py stand beside the tests, and are run by MegEngine's Python too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

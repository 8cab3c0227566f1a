"""Check tengen on an NVIDIA GPU, in at most ten minutes: `python tools/gpu_check.py --output checked.jsonl`; see gpu_check/command.py."""

import sys

from gpu_check.command import main

sys.exit(main())

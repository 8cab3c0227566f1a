"""Records what the reference's transforms give, next to this file. Run it in an environment with megengine==1.13.0 and numpy<1.24."""

import json
from pathlib import Path

import megengine.data.transform as T
from transform_cases import CASES, outcome

if __name__ == "__main__":
    recorded = {f"{case} of {sample}": outcome(T, case, sample) for case, sample in CASES}
    Path(__file__).with_name("transforms_megengine_1.13.json").write_text(
        json.dumps(recorded, separators=(",", ":")) + "\n"
    )

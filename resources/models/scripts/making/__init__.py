"""How the bundled models are made: sentences, synthetic speech, training that can be resumed, and measures."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
"""The project's folder."""

# The workflow's own library serves here, so that a model is measured by the code that will load it; so does the demo's
# grammar of frames and particles.
for _folder in (ROOT / "scripts", ROOT / "resources" / "demo"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

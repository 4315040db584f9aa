"""``python -m amfir_lib``: what ``run_all.sh`` calls after its set-up."""

from __future__ import annotations

import sys

from amfir_lib.run.command import main

sys.exit(main(sys.argv[1:]))

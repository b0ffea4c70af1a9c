"""``python -m trunkline``."""

import sys

try:
    from trunkline.cli import main

    code = main()
except KeyboardInterrupt:  # while Python was still loading us
    code = 130
sys.exit(code)

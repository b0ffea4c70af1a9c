"""``python -m powerloss``: see rounds."""

import sys

from powerloss.rounds import main

sys.exit(main())

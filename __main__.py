"""``python -m headwarp``: the command line, where its script is not on the path."""

import sys

from headwarp.tools.cli import main

sys.exit(main())

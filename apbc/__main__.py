"""``python -m apbc`` is the same as ``apbc``."""

import sys

from apbc.commands.main import main

if __name__ == "__main__":
    sys.exit(main())

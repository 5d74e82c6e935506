"""``python -m jdap`` is ``jdap``."""

import sys

from jdap.commands.dispatch import main

if __name__ == "__main__":
    sys.exit(main())

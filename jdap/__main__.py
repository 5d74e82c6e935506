"""``python -m jdap`` is ``jdap``."""

import sys

from jdap.cli import main

sys.exit(main())

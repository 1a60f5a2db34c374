"""``python -m hawser.controllers``."""

import sys

from hawser.controllers.manager import main

sys.exit(main())

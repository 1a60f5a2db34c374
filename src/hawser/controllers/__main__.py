"""``python -m hawser.controllers``."""

import sys

from hawser import quickly

quickly.begin(serves=False)

from hawser.controllers.manager import main  # noqa: E402

sys.exit(main())

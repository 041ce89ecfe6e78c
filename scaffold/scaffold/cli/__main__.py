"""`python -m scaffold.cli`, where the command is not on the path."""

import sys

from scaffold.cli import main

sys.exit(main())

"""`python -m scaffold.cli`, where the command is not on the path."""

import sys

from scaffold.command import process

sys.exit(process())

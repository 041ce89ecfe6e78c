"""`python -m scaffold.cli`, for when the command is not on the PATH."""

import sys

from scaffold.command import process

sys.exit(process())

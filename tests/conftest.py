"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; pytest's timeout ends what hangs.
settings.register_profile("scaffold", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scaffold")

# Under `nohup` it is ignored, and so it would be in what tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

"""What ``pytest --device cuda`` leaves out, and why. A reason here is a statement about the test, not an excuse for a failure."""

import re

SKIPS = {}


def reason(nodeid):
    """Why a test does not run on the device, or None."""
    for pattern, why in SKIPS.items():
        if re.search(pattern, nodeid):
            return why
    return None

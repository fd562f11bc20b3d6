"""Whose a search is."""

from __future__ import annotations

import os
import pwd


def current_user() -> str:
    """Name of the user that this process runs as, as the system knows it; ``uid <n>`` where it knows no name.

    The environment is not asked: whoever submits could say there what he likes. A service takes submissions from those
    alone who hold its token, and that is a file that only its own user can read; so this name, asked in the service, is
    whose searches they are.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

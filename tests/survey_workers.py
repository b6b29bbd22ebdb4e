"""What test_survey has done in processes of their own; another process finds it by its module's name."""

from __future__ import annotations

import os
from typing import Any

from diffsim.cli.survey import Row
from diffsim.errors import ConfigError, MissingExtraError


def work(name: str, given: dict[str, Any]) -> Row:
    """Do what the name says."""
    if name == "refuses":
        raise ConfigError("x must be y, got z;\nchange it")
    if name == "lacks":
        raise MissingExtraError("torch must be installed for it, got no such module; pip install it")
    if name == "dies":
        os._exit(7)
    return Row(name, True, (str(given["number"]), str(os.getpid())))

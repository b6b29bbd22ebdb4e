"""Optional packages: imported when they are used, and told of in one line where they are missing."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from diffsim.errors import MissingExtraError

__all__ = ["in_notebook", "require"]


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: Its name, such as "torch".
        extra: The extra of diffsim that brings it.
        purpose: What needs it, for the message.

    Returns:
        The module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and misses something of its own
        raise MissingExtraError(
            f"{module} must be installed for {purpose}, got no such module; pip install 'diffsim[{extra}]'"
        ) from None


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook: of Jupyter, or of a service that is like it."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")

"""Python as where Taichi has no wheel: with this folder on PYTHONPATH, no process finds `taichi`.

What stands for it then is its fork, as on Python 3.14 (`diffsim/_taichi/alias.py`).
"""

import importlib.machinery

_find_spec = importlib.machinery.PathFinder.find_spec


def _without_taichi(cls, name, path=None, target=None):
    return None if name == "taichi" else _find_spec(name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(_without_taichi)

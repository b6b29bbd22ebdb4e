"""Tells setuptools which folder is which package; everything else is in pyproject.toml.

``kernels/`` and ``demos/`` lie beside ``diffsim/`` in the checkout, and are installed inside it, so that
nothing but ``diffsim`` is put into site-packages.
"""

from setuptools import find_packages, setup

PLACED = {"diffsim.kernels": "kernels", "diffsim.demos": "demos"}

packages = find_packages(include=["diffsim", "diffsim.*"])
for name, folder in PLACED.items():
    packages += [name, *(f"{name}.{sub}" for sub in find_packages(folder))]

setup(packages=packages, package_dir={"diffsim": "diffsim", **PLACED})

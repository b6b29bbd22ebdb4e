"""Build the site: python docs/build.py [--site-dir FOLDER]. Prints warnings, which are errors, alone."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Build, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site-dir", type=Path, default=ROOT / "site", help="where to write it (site)")
    folder = parser.parse_args().site_dir.resolve()
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # the theme's notice of its successor is no news of ours
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    told = logging.StreamHandler()
    told.setLevel(logging.WARNING)
    logging.getLogger("mkdocs").addHandler(told)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    except Abort as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        config.plugins.on_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

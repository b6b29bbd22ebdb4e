"""Graphs that show, write and save themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from diffsim.errors import ConfigError, MissingExtraError
from diffsim.files import replacing, require_writable
from diffsim.view.graph.model import Content
from diffsim.view.graph.paint import page, svg_text
from diffsim.view.graph.text import dot_text, mermaid_text

__all__ = ["ENDINGS", "Graph", "check_target"]

ENDINGS = (".svg", ".png", ".dot", ".mmd", ".html")
_SECONDS = 60  # that graphviz may take


def check_target(path: str | os.PathLike[str], name: str = "the file of a graph") -> Path:
    """Return the path of a file for a graph, before any work is done for it.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        ConfigError: Its ending is none of those of a graph, or its folder cannot be written to.
        MissingExtraError: A PNG without the program `dot`.
    """
    try:
        target = Path(path)
    except TypeError:
        raise ConfigError(f"{name} must be a path, got {path!r}; name one") from None
    if target.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"{name} must end in {', '.join(ENDINGS)}, got {str(target)!r}; choose one of these"
        )
    require_writable(target, name)
    if target.suffix.lower() == ".png":
        _program("png")
    return target


def _program(kind: str) -> str:
    """Return graphviz's program.

    Raises:
        MissingExtraError: There is none.
    """
    program = shutil.which("dot")
    if program is None:
        raise MissingExtraError(
            f"graphviz's program dot must be installed to draw {kind.upper()}, got none on the PATH; install "
            "graphviz, or save as .html, .dot or .mmd, which need nothing"
        )
    return program


class Graph(Content):
    """A graph as text (Mermaid, DOT) and as a picture; print it for its Mermaid, save it to see it.

    Notebooks show it by itself. See `Content` for what it is made of.
    """

    def mermaid(self) -> str:
        """Return it in Mermaid's language, which Markdown pages of many sites draw (block ` ```mermaid `)."""
        return mermaid_text(self)

    def dot(self) -> str:
        """Return it in the language of graphviz."""
        return dot_text(self)

    def inline_svg(self, title: bool = True) -> str:
        """Return an `<svg>` element by a layout of our own, to be put into a page; graphviz is not needed.

        It is light or dark as `data-theme` of an element around it says, else as the reader's system does.

        Args:
            title: Write the title above.
        """
        return svg_text(self, title)

    def html(self) -> str:
        """Return a page with the picture of `inline_svg`, which needs nothing else."""
        return page(self)

    def svg(self) -> str:
        """Return an SVG file by graphviz.

        Raises:
            MissingExtraError: There is no program `dot`.
            ConfigError: It failed.
        """
        return self._drawn("svg").decode("utf-8")

    def png(self) -> bytes:
        """Return a PNG file by graphviz.

        Raises:
            MissingExtraError: There is no program `dot`.
            ConfigError: It failed.
        """
        return self._drawn("png")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a file whose ending says what it is: `.svg`, `.png`, `.dot`, `.mmd` or `.html`.

        `.svg` and `.png` are drawn by graphviz; without it `.svg` has the layout of `inline_svg`.

        Args:
            path: The file. Its folder must exist.

        Returns:
            The path.

        Raises:
            ConfigError: The ending is another, or the file cannot be written.
            MissingExtraError: A PNG without the program `dot`.
        """
        target = check_target(path)
        data = self._file(target.suffix.lower())
        try:
            with replacing(target) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise ConfigError(
                f"{target} must be a file that can be written, got {error.strerror or error}; choose another"
            ) from None
        return target

    def __str__(self) -> str:
        return self.mermaid()

    def __repr__(self) -> str:
        return f"<Graph {self.title!r}: {len(self.nodes)} nodes, {len(self.edges)} edges>"

    def _repr_svg_(self) -> str:
        return self.inline_svg()

    def _repr_html_(self) -> str:
        return self.inline_svg()

    def _file(self, ending: str) -> bytes:
        """Return what a file holds."""
        if ending == ".png":
            return self.png()
        if ending == ".svg":
            text = self.svg() if shutil.which("dot") else self.inline_svg()
        else:
            text = {".dot": self.dot, ".mmd": self.mermaid, ".html": self.html}[ending]()
        return text.encode("utf-8")

    def _drawn(self, kind: str) -> bytes:
        """Let graphviz draw it."""
        program = _program(kind)
        options = [f"-T{kind}", *(["-Gdpi=144"] if kind == "png" else [])]
        try:
            ran = subprocess.run(
                [program, *options],
                input=self.dot().encode("utf-8"),
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"dot must draw the graph within {_SECONDS} s, got no end; save it as .html"
            ) from None
        if ran.returncode or not ran.stdout:
            said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ConfigError(
                f"dot must draw the graph, got: {said[0] if said else 'nothing'}; save it as .html"
            )
        return ran.stdout

"""The README's example runs as it stands and does what the text says."""

import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_simulator_of_the_readme(tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(source.splitlines()) < 40
    program = tmp_path / "pendulum.py"
    program.write_text(source)
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.startswith("gradient with respect to torque")  # no banner before it
    assert "passed" in run.stdout
    first, best = re.search(r"cost (\S+) -> (\S+),", run.stdout).groups()
    assert float(first) == 9.87
    assert float(best) < 0.1


def test_links_of_the_documents():
    pages = [README.parent / name for name in ("CONTRIBUTING.md", "docs/design.md", "docs/gallery.md")]
    for document in (README, *pages):
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document.name} links to {link}"

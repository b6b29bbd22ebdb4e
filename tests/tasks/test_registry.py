"""Options as dataclasses, the contract of a task, and finding tasks and simulators by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from diffsim.errors import ConfigError
from diffsim.options import Options, option, options_of
from diffsim.tasks import registry

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package of tests/plugin, as if it were installed."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    return importlib.import_module("diffsim_fake")


@dataclass(frozen=True)
class Some(Options):
    count: int = option(help="how many", minimum=1)
    share: float = option(0.5, "how much", minimum=0, maximum=1)
    rate: float = option(1.0, "how fast", above=0)
    kind: str = option("a", "which", choices=("a", "b"))
    bits: int = option(32, "bits", choices=(32, 64))
    name: str = option("x", "what")
    on: bool = option(True, "whether")
    limit: int | None = option(None, "at most", minimum=1)


# -------------------------------------------------------------------------------------------------- options


def test_options_take_their_defaults_and_whole_numbers_for_floats() -> None:
    some = Some(count=3, rate=2)  # type: ignore[arg-type]
    assert (some.count, some.share, some.rate, some.limit) == (3, 0.5, 2.0, None)
    assert type(some.rate) is float
    assert "limit" not in some.plain()
    assert Some.read(some.plain()) == some


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("count", 0, "count must be a whole number of at least 1, got 0"),
        ("count", True, "count must be a whole number of at least 1, got True"),
        ("count", 1.5, "got 1.5"),
        ("count", None, "got None"),
        ("share", 1.5, "share must be a number from 0 to 1, got 1.5; the default is 0.5"),
        ("share", float("nan"), "got nan"),
        ("share", 10**400, "share must be a number from 0 to 1"),
        ("rate", 0, "rate must be a number above 0, got 0"),
        ("rate", float("inf"), "got inf"),
        ("kind", "c", "kind must be one of a, b, got 'c'; the default is a"),
        ("bits", 48, "bits must be one of 32, 64, got 48"),
        ("name", "a\nb", r"name must be text, got 'a\nb'"),
        ("on", 1, "on must be true or false, got 1; the default is true"),
        ("limit", 0, "limit must be a whole number of at least 1, got 0; leave it out where unsure"),
    ],
)
def test_options_refuse_what_breaks_their_rule(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Some(**({"count": 1} | {key: value}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_a_table_names_keys_as_asked() -> None:
    def label(key: str) -> str:
        return f"run.{key}"

    with pytest.raises(
        ConfigError, match=r"run.cuont must be one of count, .*got 'cuont'; did you mean count\?"
    ):
        Some.read({"cuont": 1}, label)
    with pytest.raises(
        ConfigError, match=r"run.count must be given, got nothing; write a whole number of at least 1"
    ):
        Some.read({}, label)
    with pytest.raises(ConfigError, match=r"run.kind must be one of a, b, got 3"):
        Some.read({"count": 1, "kind": 3}, label)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("count", "7", 7), ("share", "1e-1", 0.1), ("kind", "b", "b"), ("bits", "64", 64), ("limit", "2", 2)],
)
def test_words_are_parsed(name: str, text: str, value: Any) -> None:
    info = {info.name: info for info in options_of(Some)}[name]
    assert info.parse(text, "--x") == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "x"),
        ("count", "1.0"),
        ("count", ""),
        ("share", "nan"),
        ("bits", "33"),
        ("limit", "-1"),
        ("kind", ""),
    ],
)
def test_words_that_stand_for_nothing_allowed_are_refused(name: str, text: str) -> None:
    info = {info.name: info for info in options_of(Some)}[name]
    with pytest.raises(ConfigError, match=f"--x must be .*got '{text}'"):
        info.parse(text, "--x")


def test_a_field_must_be_declared_as_an_option() -> None:
    @dataclass(frozen=True)
    class Odd(Options):
        plain: int = 3

    @dataclass(frozen=True)
    class Odder(Options):
        table: dict[str, int] = field(default_factory=dict)

    for cls in (Odd, Odder):
        with pytest.raises(TypeError, match=r"must be declared by option\(\)"):
            cls()


# ------------------------------------------------------------------------------------------------- registry


def test_what_ships_is_found() -> None:
    assert "mass_spring" in registry.task_names()
    assert "mass_spring" in registry.simulator_names()
    assert registry.load_task("mass_spring").name == "mass_spring"
    assert registry.load_simulator("mass_spring").__name__ == "MassSpring"
    assert registry.simulator_target("mass_spring") == "diffsim.kernels.mass_spring:MassSpring"


def test_other_packages_add_theirs(plugin: Any) -> None:
    assert registry.load_task("fake") is plugin.FakeTask
    assert registry.load_simulator("fake") is plugin.FakeProblem


@pytest.mark.parametrize(
    ("kind", "load"), [("task", registry.load_task), ("simulator", registry.load_simulator)]
)
def test_an_unknown_name_lists_the_known_ones(kind: str, load: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"{kind} must be one of .*mass_spring.*'mas_spring'; did you mean mass_spring\?"
    ):
        load("mas_spring")
    with pytest.raises(ConfigError, match=r"diffsim list shows them"):
        load("zzz")


@pytest.mark.usefixtures("plugin")
def test_a_broken_package_is_an_error_of_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"task fake_broken must be importable, got AttributeError: .*; reinstall"
    ):
        registry.load_task("fake_broken")
    with pytest.raises(ConfigError, match=r"task fake_wrong must be a subclass of diffsim.tasks.Task"):
        registry.load_task("fake_wrong")


# -------------------------------------------------------------------------------------- the task that ships


def test_a_robot_survives_the_way_through_toml(tmp_path: Path) -> None:
    """What is in config.toml makes the same robot, bit for bit, after the user's file is gone."""
    import numpy as np
    import tomli_w

    from diffsim.tasks.runs.settings import parse_toml

    kind = registry.load_task("mass_spring")
    file = tmp_path / "mine.toml"
    file.write_text("head = 1\npoints = [[0.1, 0.3], [0.2, 0.1], [0.30000000000000004, 0.1]]\n"
                    "springs = [[0, 1, 0.1, 1e4, 0.3], [1, 2, 0.12345678901234567, 3000, 0]]\n")  # fmt: skip
    task: Any = kind(kind.Config(robot=str(file)))  # type: ignore[call-arg]
    data = parse_toml(tomli_w.dumps(task.data()), "config.toml")
    file.unlink()
    again: Any = kind(task.config, data)
    assert again.robot.name == "mine"
    assert again.robot.head == 1
    for key in ("points", "springs", "rest_length", "stiffness", "actuation"):
        np.testing.assert_array_equal(getattr(again.robot, key), getattr(task.robot, key))
    for damage in ({}, {"robot": 3}, {"robot": {"name": "a"}}, {"robot": data["robot"] | {"springs": [[1]]}}):
        with pytest.raises(ConfigError):
            kind(task.config, {"robot": {}} | damage)

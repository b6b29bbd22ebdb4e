"""A simulator that reads what Python can hold, and random changes to it with their undoing."""

import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import taichi as ti

import diffsim as ds

RATE = 0.5
EXTRA = [1, 2]
SCALE = 1.25
WEIGHTS = [0.5, 0.25]


class Pair(NamedTuple):
    """A tuple with names."""

    a: float
    b: int


class Settings:
    """An object that nobody watches."""

    def __init__(self, dt, more=1):
        self.dt, self.more = dt, more


def counter(count):
    """Return a closure that returns a number, and one that changes it."""

    def read():
        return count

    def change(value):
        nonlocal count
        count = value

    return read, change


def outside(value=0.25):
    """Return a field that is Taichi's own."""
    field = ti.field(ti.f64, shape=2)
    field[0] = value
    return field


def twice(n):
    return 2 * n


def thrice(n):
    return 3 * n


class Push(ds.Part):
    """A part with a Param, a flag and a list of its own."""

    def __init__(self, mill, gain):
        self.x, self.f = mill.x, mill.f
        self.gain = ds.Param(gain)
        self.on, self.turns, self.bias = True, [1], 0.125

    @ti.kernel
    def push(self, t: ti.i32, k: ti.i32):
        for _ in range(1):
            self.f[t] += k * self.gain[None] * self.x[t] + self.bias

    def __call__(self, t):
        if self.on:
            for k in self.turns:
                self.push(t, k)


class Slotted(ds.Part):
    """A part whose attributes live in slots."""

    __slots__ = ("amount", "f", "level")

    def __init__(self, mill):
        self.f, self.level, self.amount = mill.f, ds.Param(0.3), 2

    @ti.kernel
    def lift(self, t: ti.i32, k: ti.i32):
        for _ in range(1):
            self.f[t] += k * self.level[None]


@dataclasses.dataclass
class Drawn(ds.Part):
    """A part made by a decorator."""

    f: Any
    level: Any = dataclasses.field(default_factory=lambda: ds.Param(0.7))
    power: int = 1

    @ti.kernel
    def draw(self, t: ti.i32, k: ti.i32):
        for _ in range(1):
            self.f[t] -= k * self.level[None]


@ti.data_oriented
class Plain:
    """Not a part: a class as Taichi programs have it."""

    def __init__(self, mill):
        self.f, self.level, self.shift = mill.f, ds.Param(0.1), 0.5

    @ti.kernel
    def shove(self, t: ti.i32):
        for _ in range(1):
            self.f[t] += self.level[None] * self.shift


class Mill(ds.Simulator):
    """Reads flags, counts, containers, parts, globals, closures and properties, in Python and in kernels."""

    def __init__(self):
        self.x = ds.State(ds.real, init=0.5)
        self.f = ds.Scratch(ds.real)
        self.k = ds.Param(0.3)
        self.u = ds.Control(ds.real, init=0.1)
        self.c = ds.Constant([1.0, 2.0])
        self.flag, self.count, self.price = True, 2, 1
        self.order, self.limits = [1, 3], np.array([1.0, 2.0])
        self.table = {"turns": 1, "scale": 0.5, "unread": 7}
        self.settings, self.pair = Settings(0.25), Pair(1.5, 2)
        self.parts = [Push(self, 0.2), Push(self, 0.4)]
        self.named = {"slotted": Slotted(self), "drawn": Drawn(self.f)}
        self.plain = Plain(self)
        self.read, self.change = counter(1)
        self.law, self.note, self.long = twice, "unread", list(range(200))
        self.hidden, self.matrix, self.outside = 2.0, ti.Matrix([[1.0, 2.0]]), outside()

    @property
    def turns(self):
        return self.settings.more + len(self.order)

    def factor(self, n):
        return self.pair.b * n

    @ti.kernel
    def start(self, t: ti.i32):
        for _ in range(1):
            self.f[t] += self.u[t] * self.pair.a + self.settings.dt * self.c[1] + self.limits[1] * 0.01

    @ti.kernel
    def add(self, t: ti.i32, k: ti.i32):
        for _ in range(1):
            self.f[t] += 0.01 * k * self.k[None] * self.x[t]

    @ti.kernel
    def blend(self, t: ti.i32):
        for _ in range(1):
            for w in ti.static(WEIGHTS):
                self.f[t] += w * self.table["scale"] * SCALE
            self.f[t] += 0.01 * self.factor(3) * self.parts[0].gain[None] * getattr(self, "hidden")  # noqa: B009
            self.f[t] += self.matrix[0, 1] * self.outside[0] * self.outside.shape[0]
            if ti.static(self.note is None):
                self.f[t] += 1.0

    @ti.kernel
    def move(self, t: ti.i32):
        for _ in range(1):
            self.x[t + 1] = self.x[t] + 0.1 * self.f[t]

    def step(self, t):
        self.start(t)
        for part in self.parts:
            part(t)
        if self.flag:
            self.add(t, 1)
        for k in [*range(self.count), *self.order, *EXTRA]:
            self.add(t, k)
        self.add(t, int(10 * self.limits[0]))
        self.add(t, self.table["turns"] + self.read() + self.law(2) + self.turns)
        if RATE > 0.4:
            self.blend(t)
        self.named["slotted"].lift(t, self.named["slotted"].amount)
        self.named["drawn"].draw(t, self.named["drawn"].power)
        self.plain.shove(t)
        self.move(t)

    @ti.kernel
    def pay(self, t: ti.i32, price: ti.i32):
        for _ in range(1):
            self.cost[None] += price * self.x[t] * self.x[t]

    def running_cost(self, t):
        for _ in range(self.price):
            self.pay(t, 1)

    def terminal_cost(self, t):
        self.pay(t, self.pair.b)


# ---- changes: each returns what undoes it ----

Undo = Callable[[], None]


def attribute(owner, name, value) -> Undo:
    old = getattr(owner, name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, old)


def item(owner, key, value) -> Undo:
    old = owner[key]
    owner[key] = value
    return lambda: owner.__setitem__(key, old)


def contents(owner, change) -> Undo:
    old = copy.copy(owner)
    change(owner)

    def undo():
        owner.clear()
        owner.extend(old) if isinstance(owner, list) else owner.update(old)

    return undo


def removed(owner, name) -> Undo:
    old = getattr(owner, name)
    delattr(owner, name)
    return lambda: setattr(owner, name, old)


def added(owner, name, value) -> Undo:
    setattr(owner, name, value)
    return lambda: delattr(owner, name)


def values(field, array) -> Undo:
    old = field.host_values()
    field.set(array)
    return lambda: field.set(old)


def closure(sim, n) -> Undo:
    old = sim.read()
    sim.change(n)
    return lambda: sim.change(old)


def method(cls, name, function) -> Undo:
    old = vars(cls)[name]
    setattr(cls, name, function)
    return lambda: setattr(cls, name, old)


def swapped(owner, first, second) -> Undo:
    def swap():
        a, b = getattr(owner, first), getattr(owner, second)
        setattr(owner, first, b)
        setattr(owner, second, a)

    swap()
    return swap


def change(sim, rng: random.Random) -> tuple[str, Undo, bool | None]:
    """Make a random change: its name, what undoes it, and whether it must be allowed (None: either)."""
    n, r = rng.randint(0, 3), rng.choice([0.25, 0.5, 1.5])
    part = rng.choice(sim.parts)
    name, made, allowed = rng.choice(
        _attributes(sim, part, n, r) + _others(sim, part, n, r) + _allowed(sim, n, r)
    )
    return name, made(), allowed


def every(sim, part, n, r):
    """List all changes: a name, what makes it, whether it must be allowed."""
    return _attributes(sim, part, n, r) + _others(sim, part, n, r) + _allowed(sim, n, r)


def _attributes(sim, part, n, r):
    here = globals()
    table = {
        "flag": (sim, "flag", bool(n % 2)),
        "count": (sim, "count", n),
        "price": (sim, "price", n),
        "price of another type": (sim, "price", True),
        "order": (sim, "order", [1, n]),
        "limits": (sim, "limits", np.array([r, 2.0])),
        "limits in kernels": (sim, "limits", np.array([1.0, r])),
        "table": (sim, "table", {"turns": n, "scale": 0.5}),
        "settings": (sim, "settings", Settings(r, 1)),
        "settings in place": (sim.settings, "dt", r),
        "more of settings": (sim.settings, "more", n),
        "pair": (sim, "pair", Pair(1.5, n)),
        "pair in kernels": (sim, "pair", Pair(r, 2)),
        "law": (sim, "law", thrice if n else twice),
        "note": (sim, "note", None),
        "part's flag": (part, "on", bool(n % 2)),
        "part's list": (part, "turns", [1, n]),
        "part's number": (part, "bias", r),
        "slot": (sim.named["slotted"], "amount", n),
        "dataclass": (sim.named["drawn"], "power", n),
        "hidden": (sim, "hidden", r),
        "Taichi's field": (sim, "outside", outside(r)),
        "Taichi's matrix": (sim, "matrix", ti.Matrix([[1.0, r]])),
        "plain": (sim.plain, "shift", r),
        "field": (sim, "k", ds.Param(r)),
        "state": (sim, "x", ds.State(ds.real, init=r)),
        "scratch": (sim, "f", ds.Scratch(ds.real)),
        "control": (sim, "u", ds.Control(ds.real, init=r)),
        "constant": (sim, "c", ds.Constant([1.0, r])),
        "part's field": (part, "gain", ds.Param(r)),
        "slot's field": (sim.named["slotted"], "level", ds.Param(r)),
        "plain's field": (sim.plain, "level", ds.Param(r)),
        "plain's field by a number": (sim.plain, "level", r),
        "parts": (sim, "parts", list(reversed(sim.parts))),
        "parts by copies": (sim, "parts", [copy.deepcopy(p) for p in sim.parts]),
        "parts by fewer": (sim, "parts", sim.parts[:1]),
        "plain by another": (sim, "plain", Plain(sim)),
    }
    names = [(key, lambda a=arguments: attribute(*a), None) for key, arguments in table.items()]
    world = {
        "rate": ("RATE", r),
        "scale": ("SCALE", r),
        "extra": ("EXTRA", [n]),
        "weights": ("WEIGHTS", [r, r]),
    }
    return names + [(f"global {k}", lambda a=a: item(here, *a), None) for k, a in world.items()]


def _others(sim, part, n, r):
    return [
        ("order in place", lambda: contents(sim.order, lambda a: a.append(n)), None),
        ("item of order", lambda: item(sim.order, 0, n), None),
        ("item of limits", lambda: item(sim.limits, n % 2, r), None),
        ("item of table", lambda: item(sim.table, "turns", n), None),
        ("item of table in kernels", lambda: item(sim.table, "scale", r), None),
        ("item of a global in kernels", lambda: item(WEIGHTS, n % 2, r), None),
        ("global in place", lambda: contents(EXTRA, lambda a: a.append(n)), None),
        ("part's list in place", lambda: contents(part.turns, lambda a: a.append(n)), None),
        ("part appended", lambda: contents(sim.parts, lambda a: a.append(Push(sim, r))), None),
        ("part replaced", lambda: item(sim.parts, n % 2, Push(sim, r)), None),
        ("part named", lambda: item(sim.named, "slotted", Slotted(sim)), None),
        ("matrix in place", lambda: item(sim.matrix, (0, 1), r), None),
        ("closure", lambda: closure(sim, n), None),
        ("fields swapped", lambda: swapped(sim, "k", "u"), None),
        ("field removed", lambda: removed(sim, "c"), None),
        ("flag removed", lambda: removed(sim, "flag"), None),
        ("field added", lambda: added(sim, "extra", ds.Param(r)), None),
        ("step", lambda: method(Mill, "step", lambda self, t: (self.start(t), self.move(t))), None),
        ("part's call", lambda: method(Push, "__call__", lambda self, t: self.push(t, n)), None),
        ("kernel", lambda: method(Mill, "pay", vars(Push)["push"]), None),
        ("property", lambda: method(Mill, "turns", property(lambda self: n)), None),
        ("function in kernels", lambda: method(Mill, "factor", lambda self, m: n * m), None),
    ]


def _allowed(sim, n, r):
    same = Settings(sim.settings.dt, sim.settings.more)
    return [
        ("values of Taichi's field", lambda: item(sim.outside, 0, r), True),
        ("set Param", lambda: values(sim.k, r), True),
        ("set State", lambda: values(sim.x, r), True),
        ("set Control", lambda: values(sim.u, r), True),
        ("set Constant", lambda: values(sim.c, [1.0, r]), True),
        ("set a part's Param", lambda: values(sim.parts[0].gain, r), True),
        ("note", lambda: attribute(sim, "note", f"{r}"), None),
        ("unread attribute", lambda: added(sim, "memo", [n]), True),
        ("unread item", lambda: item(sim.table, "unread", r), True),
        ("unread list", lambda: contents(sim.long, lambda a: a.append(n)), True),
        ("an equal object", lambda: attribute(sim, "settings", same), True),
        ("an equal list", lambda: attribute(sim, "parts", list(sim.parts)), True),
        ("another name of a field", lambda: added(sim, "again", sim.k), True),
    ]

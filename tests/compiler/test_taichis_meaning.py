"""Kernels that read Taichi fields made by hand mean what they mean to Taichi: each is run by both."""

import gc
import re
import warnings

import numpy as np
import pytest
import taichi as ti

import diffsim as ds

BALL = ti.types.struct(a=ti.f64, b=ti.types.vector(2, ti.f64))


@ti.dataclass
class Ball:
    mass: ti.f64
    speed: ti.types.vector(2, ti.f64)

    @ti.func
    def energy(self, half):
        return half * self.mass * self.speed.norm_sqr()


PAIR = ti.types.struct(ball=Ball, count=ti.i32)
SMALL = "i8 u8 i16 u16 i32 u32 i64 u64".split()
ROWS = 25


def filled(field, scale=1.0):
    for k, at in enumerate(np.ndindex(field.shape)):
        field[at] = scale * (k + 1)
    return field


class Fields:
    """Fields of each kind: sparse ones, in all orders, with parts apart, of each type of integers."""

    def __init__(self):
        root = ti.root
        (self.far, self.deep, self.masked, self.list, self.lists, self.odd, self.huge) = (
            ti.field(ti.f64) for _ in range(7)
        )
        self.tiles = root.pointer(ti.i, 3)
        self.tiles.dense(ti.i, 4).place(self.far)
        root.pointer(ti.ij, (3, 2)).pointer(ti.ij, 2).dense(ti.ij, (4, 2)).place(self.deep)
        self.mask = root.bitmasked(ti.ij, (4, 3))
        self.mask.place(self.masked)
        self.items = root.dynamic(ti.i, 16, chunk_size=4)
        self.items.place(self.list)
        self.rows = root.dense(ti.i, 3)
        self.row = self.rows.dynamic(ti.j, 8, chunk_size=4)
        self.row.place(self.lists)
        root.pointer(ti.i, 3).dense(ti.i, 5).place(self.odd)
        root.pointer(ti.i, 2**13).dense(ti.i, 2**13).place(self.huge)
        self.balls, self.split = BALL.field(), ti.Vector.field(2, ti.f64)
        root.bitmasked(ti.i, 8).place(self.balls)
        root.pointer(ti.i, 2).dense(ti.i, 4).place(self.split.get_scalar_field(1))
        root.dense(ti.i, 8).place(self.split.get_scalar_field(0))
        self.turned = filled(ti.field(ti.f64, shape=(3, 5), order="ji"))
        self.crossed, self.blocks, self.single = (ti.field(ti.f64) for _ in range(3))
        self.half, self.moved = ti.field(ti.f16, shape=3), ti.Vector.field(2, ti.f64)
        root.dense(ti.i, 4).place(self.moved.get_scalar_field(0))
        root.dense(ti.i, 4).place(self.moved.get_scalar_field(1), offset=(-2,))
        bits, self.small = ti.BitpackedFields(max_num_bits=32), ti.field(ti.types.quant.int(5, True))
        bits.place(self.small)
        root.dense(ti.i, 4).place(bits)
        root.dense(ti.j, 5).dense(ti.i, 3).place(self.crossed)
        root.dense(ti.i, 2).dense(ti.ij, (3, 2)).place(self.blocks)
        self.beside = ti.field(ti.f32)
        self.block = root.dense(ti.i, 7)
        self.block.place(self.single, self.beside)
        self.matrices = ti.Matrix.field(2, 3, ti.f64, shape=4, layout=ti.Layout.SOA)
        self.pairs = PAIR.field(shape=4)
        filled(self.pairs.ball.mass)
        self.pairs.ball.speed.from_numpy(np.arange(8.0).reshape(4, 2))
        filled(self.pairs.count, 3)
        self.ints = [ti.field(getattr(ti, name), shape=3) for name in SMALL]
        for field in (self.crossed, self.blocks, self.single, self.beside):
            filled(field, 0.1)
        self.matrices.from_numpy(np.arange(24.0).reshape(4, 2, 3))
        for field in self.ints:
            field[0], field[1], field[2] = 100, 5, 27
        self.change(0)

    def change(self, turn):
        """Activate, append and deactivate cells, as Python may between runs."""
        if turn:
            self.tiles.deactivate_all()
            self.items.deactivate_all()
        for k in (2 + turn, 9 + turn):
            self.far[k] = 10.0 * k
        for k in range(4 + 3 * turn):
            self.list[k] = self.lists[turn, k] = k + 0.5
        self.deep[5 + 9 * turn, 3] = self.masked[1 + turn, 2] = 7.0 + turn
        self.balls[3 + turn].a = self.balls.b[3 + turn][1] = 2.5
        self.split[1 + 5 * turn] = [3.0, 4.0]


@ti.data_oriented
class Reads:
    """One row for each loop."""

    @ti.kernel
    def visits(self, t: ti.i32):
        for i in self.f.far:
            self.out[t, 0] += 1.0 + i
        for cell in ti.grouped(self.f.deep):
            self.out[t, 1] += 1.0 + cell[0] + 0.1 * cell[1]
        for i, j in self.f.masked:
            self.out[t, 2] += 1.0 + 10 * i + j
        for i in self.f.list:
            self.out[t, 3] += 1.0 + i
        for i, j in self.f.lists:
            self.out[t, 4] += 1.0 + 10 * i + j
        for i in self.f.balls:
            self.out[t, 5] += 1.0 + i
        for i in self.f.tiles:
            self.out[t, 6] += 1.0 + i
        for cell in ti.grouped(self.f.deep.parent(2)):
            self.out[t, 7] += 1.0 + cell[0] + 0.1 * cell[1]
        for i in self.f.split:  # whose first part is dense
            self.out[t, 8] += 1.0 + i
        for i, j in ti.ndrange(4, 3):
            if ti.is_active(self.f.mask, [i, j]):
                self.out[t, 9] += 1.0 + i
        for i in range(3):
            self.out[t, 10] += (1.0 + i) * ti.length(self.f.row, [i]) + ti.length(self.f.items, [])

    @ti.kernel
    def sparse(self, t: ti.i32):
        for i in range(12):
            self.out[t, 11] += i * (self.f.far[i] + self.f.list[i] + self.f.balls.b[i % 8].y)
            self.out[t, 11] += self.f.split[i % 8].y + self.f.masked[i % 4, 2]

    @ti.kernel
    def dense(self, t: ti.i32):
        for i, j in self.f.turned:
            self.out[t, 12] += (1.0 + 10 * i + j) * self.f.turned[i, j]
        for i, j in self.f.crossed:
            self.out[t, 13] += (1.0 + 10 * i + j) * self.f.crossed[i, j]
        for i, j in self.f.blocks:
            self.out[t, 14] += (1.0 + 10 * i + j) * self.f.blocks[i, j]
        for i in self.f.block:
            self.out[t, 15] += (1.0 + i) * self.f.single[i] + self.f.beside[i]
        for i in self.f.rows:
            self.out[t, 16] += 1.0 + i
        for i in self.f.matrices:
            for r, c in ti.static(ti.ndrange(self.f.matrices.n, self.f.matrices.m)):
                self.out[t, 17] += (1.0 + i + 10 * r + 100 * c) * self.f.matrices[i][r, c]
        for i in ti.static(range(self.f.turned.shape[0])):
            self.out[t, 18] += ti.cast(2.7 * i, self.f.ints[0].dtype) * self.f.turned[i, 1]

        for i in self.f.pairs:
            one = self.f.pairs[i]
            self.out[t, 24] += one.ball.energy(0.5) + self.f.pairs[i].ball.speed.y * self.f.pairs[i].count
            one.ball.mass = 3.0
            self.out[t, 24] += one.ball.energy(0.5) + self.f.pairs.ball[(i + 1) % 4].mass

    @ti.kernel
    def integers(self, t: ti.i32):
        for k in ti.static(range(8)):
            for i in self.f.ints[k]:
                self.out[t, 19] += (k + 1) * ((self.f.ints[k][i] << 2) + (self.f.ints[k][i] >> 1))
                self.out[t, 20] += (k + 1) * (self.f.ints[k][0] + self.f.ints[k][0] + self.f.ints[k][i] * 2)
                self.out[t, 21] += (k + 1) * (self.f.ints[k][1] - self.f.ints[k][i])
                self.out[t, 22] += (k + 1) * (-self.f.ints[k][i] // 7 + self.f.ints[k][i] % 4)
                self.out[t, 23] += self.f.turned[0, self.f.ints[k][1] - self.f.ints[k][1]] * self.f.ints[k][i]


class Plain(Reads):
    def __init__(self, fields):
        self.f, self.out = fields, ti.field(ti.f64, shape=(1, ROWS))

    def run(self):
        self.out.fill(0.0)
        for kernel in (self.visits, self.sparse, self.dense, self.integers):
            kernel(0)
        return self.out.to_numpy()[0]


class Read(ds.Simulator, Reads):
    def __init__(self, fields, *kernels):
        self.f, self.kernels = fields, kernels
        self.out, self.w = ds.Scratch(ds.real, ROWS), ds.Param(0.5)

    @ti.kernel
    def add(self, t: ti.i32):
        for i in self.out:
            self.cost[None] += self.w[None] * self.out[t, i]

    def step(self, t):
        for name in self.kernels:
            getattr(self, name)(t)
        self.add(t)


@pytest.fixture(scope="module")
def fields(runtime, arch):
    gc.collect()
    with warnings.catch_warnings():  # kernels of tests that are done may hold fields
        warnings.filterwarnings("ignore", "Taichi fields must be made after", RuntimeWarning)
        ds.init(arch=arch, precision=64, threads=1, reset=True)  # sparse fields are among the first ones
    return Fields()


def test_a_rollout_reads_what_taichi_reads(fields):
    """Also what Python activates, appends and takes away between runs; in all modes, and backward."""
    plain = Plain(fields)
    sims = [Read(fields, "visits", "sparse", "dense", "integers"), Read(fields, "visits", "dense")]
    rollouts = [
        ds.Rollout(sim, steps=2, mode=mode) for sim, mode in zip(sims, ("step", "fused"), strict=True)
    ]
    for turn in range(2):
        fields.change(turn)
        expected = plain.run()
        assert np.all(expected != 0.0)
        for sim, rollout in zip(sims, rollouts, strict=True):
            rows = rollout.trajectory(sim.out)
            wanted = np.where(rows[0] == 0.0, 0.0, expected) if len(sim.kernels) < 4 else expected
            np.testing.assert_allclose(rows, [wanted, wanted], rtol=1e-14)
            cost, gradients = rollout.value_and_grad()
            assert cost == pytest.approx(wanted.sum(), rel=1e-13)
            assert gradients["w"] == pytest.approx(2.0 * wanted.sum(), rel=1e-13)
    assert np.count_nonzero(wanted) == 19
    for rollout in rollouts:
        rollout.close()


@ti.data_oriented
class Kernels:
    """Kernels of which Taichi's meaning is not had, or which would end its process."""

    @ti.kernel
    def odd(self, t: ti.i32):
        for i in self.f.odd:
            self.cost[None] += 1.0

    @ti.kernel
    def huge(self, t: ti.i32):
        for i in self.f.huge:
            self.cost[None] += 1.0

    @ti.kernel
    def half(self, t: ti.i32):
        for i in self.f.half:
            self.cost[None] += self.f.half[i]

    @ti.kernel
    def small(self, t: ti.i32):
        for i in self.f.small:
            self.cost[None] += self.f.small[i]

    @ti.kernel
    def moved(self, t: ti.i32):
        for i in range(2):
            self.cost[None] += self.f.moved[i].x

    @ti.kernel
    def beyond(self, t: ti.i32):
        for i in range(12):
            if ti.is_active(self.f.tiles, [i]):
                self.cost[None] += 1.0

    @ti.kernel
    def asked_wrongly(self, t: ti.i32):
        for i in range(3):
            if ti.is_active(self.f.far, [i]):
                self.cost[None] += 1.0

    @ti.kernel
    def no_list(self, t: ti.i32):
        self.cost[None] += ti.length(self.f.tiles, [])

    @ti.kernel
    def cell(self, t: ti.i32):
        self.cost[None] += ti.length(self.f.row, [1, 2])

    @ti.kernel
    def method(self, t: ti.i32):
        self.cost[None] += self.f.list.length()

    @ti.kernel
    def appended(self, t: ti.i32):
        for i in range(1):
            ti.append(self.f.items, [], 1.0)

    @ti.kernel
    def rescaled(self, t: ti.i32):
        for i in range(4):
            self.cost[None] += ti.rescale_index(self.f.far, self.f.tiles, [i])[0]


class Refused(ds.Simulator, Kernels):
    def __init__(self, fields, name):
        self.x, self.f, self.name = ds.State(ds.real), fields, name

    def step(self, t):
        getattr(self, self.name)(t)


REFUSED = {
    "odd": "self.f.odd must have powers of two along each axis, but for the one under ti.root, got others, "
    "and pointer, where Taichi's own loops pass active cells over; make them so, or declare",
    "huge": "must have up to 16777216 cells, got self.f.huge of shape (67108864,); declare it as ds.Con",
    "half": "must hold floats of 32 or 64 bits, or integers of 8 to 64, got a Taichi field of f16; make it",
    "small": "small must hold floats of 32 or 64 bits, or integers of 8 to 64, got a Taichi field of qi",
    "moved": "indices of self.f.moved must begin at 0, got a Taichi field with offset=(-2,)",
    "beyond": "indices of the active cells of self.f.tiles must lie in 0 .. 2, got 0 .. 11",
    "asked_wrongly": "ti.is_active must get a sparse SNode, as ti.root.pointer(...) returns it, got ti.is",
    "no_list": "ti.length must get a sparse SNode",
    "cell": "ti.length(self.f.row, [1, 2]) must get a cell of 1 index(es), got 2; write [i] [INDEX]",
    "method": "got .length of a list; write ti.length(node, [...]) with the SNode that ti.root.dynamic",
    "appended": "which cells of a Taichi field are active, got ti.append(self.f.items, [], 1.0); do it in",
    "rescaled": "got ti.rescale_index(self.f.far, self.f.tiles, [i]); compute it with // and *",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_differ_is_refused(fields, name):
    with pytest.raises(ds.TraceError, match=re.escape(REFUSED[name])):
        ds.plan(Refused(fields, name), steps=1)


class Given(ds.Simulator):
    def __init__(self, field, node):
        self.field, self.node = field, node

    @ti.kernel
    def read(self, t: ti.i32):
        for i in self.field:
            self.cost[None] += self.field[i]

    @ti.kernel
    def visit(self, t: ti.i32):
        for _ in self.node:
            self.cost[None] += 1.0

    def step(self, t):
        if self.node is None:
            self.read(t)
        else:
            self.visit(t)


def test_a_field_whose_tree_is_destroyed_is_not_read(fields):
    """To Taichi it is memory of others', or the end of the process."""
    builder, field = ti.FieldsBuilder(), ti.field(ti.f64)
    node = builder.pointer(ti.i, 4)
    node.place(field)
    tree = builder.finalize()
    field[1] = 2.0
    rollouts = [ds.Rollout(sim, steps=1) for sim in (Given(field, None), Given(None, node))]
    assert [rollout.value() for rollout in rollouts] == [2.0, 1.0]
    tree.destroy()
    for name, rollout in zip(("field", "node"), rollouts, strict=True):
        with pytest.raises(ds.StateError, match=f"self.{name} must keep its memory as long as a rollout"):
            rollout.value()
        rollout.close()
    for use in (lambda: ds.plan(Given(field, None), steps=1), lambda: field[0]):
        with pytest.raises(ds.StateError, match="or whose tree was destroyed"):
            use()


@pytest.mark.cpu
@pytest.mark.native
def test_what_is_exported_reads_no_fields_of_taichi(fields, tmp_path):
    for sim, words in (
        (
            Given(fields.single, None),
            "compiled natively to be exported, got self.field, a Taichi field made by",
        ),
        (
            Given(None, fields.tiles),
            "to be exported, got the active cells of self.node, a Taichi field made by",
        ),
    ):
        with ds.Rollout(sim, steps=1) as rollout, pytest.raises(ds.StateError, match=words):
            rollout.export(tmp_path)

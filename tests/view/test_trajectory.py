"""Trajectories as their users know them: a dict of arrays that know their times, in memory and in files."""

import copy
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

import diffsim as ds
from diffsim.errors import ConfigError, MissingExtraError, StateError
from diffsim.view.named import to_plain
from diffsim.view.timed import Label
from diffsim.view.trajectory import Signal, Trajectory, labelled

FRAMES, DT = 11, 0.1
ENDINGS = [".npz", ".h5", ".hdf5", ".zarr"]


def arrays():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(FRAMES, 5, 2)),
        "policy.u": rng.normal(size=(FRAMES - 1, 3)).astype(np.float32),
        "hits": rng.integers(0, 9, FRAMES),
        "on": rng.random(FRAMES) < 0.5,
    }


def made(**options):
    scene = ds.Scene((ds.scene.Points("x"), ds.scene.Lines("x", "pairs")), ground=0.0)
    return Trajectory(
        arrays(),
        DT * np.arange(FRAMES),
        units={"x": "m"},
        stills={"pairs": np.array([[0, 1], [1, 4]]), "mass": np.float64(2.0)},
        scene=scene,
        title="a test",
        **options,
    )


def of_worlds(frames=40, worlds=6, n=3):
    values = np.arange(frames * worlds * n, dtype=np.float64).reshape(frames, worlds, n)
    return Trajectory({"q": labelled(values, Label("q", DT * np.arange(frames), "s", "rad", (), worlds))})


# ---- as a dict ----


def test_it_is_read_like_a_dict():
    t = made()
    assert (list(t), t.names, len(t)) == ([*arrays()], tuple(arrays()), 4)
    assert "x" in t
    assert "y" not in t
    assert 3 not in t
    assert t.get("y") is None
    assert dict(**t)["x"] is t["x"]
    assert [name for name, _ in t.items()] == list(t.keys())
    assert all(isinstance(array, Signal) for array in t.values())
    assert (t.units["x"], t.shapes["policy.u"], t.time_unit, t.worlds) == ("m", (10, 3), "s", 0)
    assert t[["x", "hits"]].names == ("x", "hits")
    assert t[["x"]].scene is t.scene
    with pytest.raises(KeyError, match=r"'y': this trajectory has x, policy.u, hits, on"):
        t["y"]
    with pytest.raises(KeyError, match="frames are chosen by a slice"):
        t[3]
    assert "11 frames, t = 0 .. 1 s; x (11, 5, 2) [m]; policy.u (10, 3)" in repr(t)
    assert repr(Trajectory({})) == "<Trajectory: no frames; >"


@pytest.mark.parametrize(
    ("take", "kept"),
    [
        (lambda t: t.between(0.3, 0.6), [3, 4, 5, 6]),  # 3 * 0.1 is more than 0.3 by rounding
        (lambda t: t.between(stop=0.25), [0, 1, 2]),
        (lambda t: t.between(0.85), [9, 10]),
        (lambda t: t.every(np.int64(4)), [0, 4, 8]),
        (lambda t: t[2:9:3], [2, 5, 8]),
        (lambda t: t[-2:], [9, 10]),
        (lambda t: t.between(0.2).every(3)[1:], [5, 8]),
        (lambda t: t.world(0), list(range(FRAMES))),
    ],
)
@pytest.mark.parametrize("ending", ["", ".h5", ".zarr"])
def test_some_frames(take, kept, ending, tmp_path):
    """Of files too, where nothing but these frames is read."""
    whole = made()
    if ending:
        whole.save(tmp_path / f"t{ending}")
        whole = Trajectory.load(tmp_path / f"t{ending}")
    found = take(whole)
    assert np.allclose(found.times, DT * np.array(kept))
    for name, array in arrays().items():
        inside = [k for k in kept if k < len(array)]
        assert np.array_equal(found[name], array[inside])
        assert len(found[name].times) == len(inside)
    assert (found.title, found.units["x"]) == ("a test", "m")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.between(1.2, 3.0), "between must get times with frames between them"),
        (lambda t: t.between(0.6, 0.3), "between must get times"),
        (lambda t: t.between("a"), "a time must be a number"),
        (lambda t: t.between(np.nan), "a time must be a number"),
        (lambda t: t.every(0), "every must be a positive integer"),
        (lambda t: t.every(True), "every must be a positive integer"),
        (lambda t: t.world(1), "world must be a number from 0 to 0"),
        (lambda t: t.world(0.0), "world must be a number"),
        (lambda t: t[::-1], "frames must be chosen by whole numbers with a positive step"),
        (lambda t: t[0.1:0.5], "use between for times"),
        (lambda t: Trajectory({}).at(0.0), "at must be asked of frames"),
        (lambda t: Trajectory({"x": np.zeros(3)}, [0.0, 0.0, 1.0]), "times must be finite numbers that rise"),
        (lambda t: Trajectory({"x": np.zeros(3)}, "abc"), "numbers that rise, one for each frame, got 'abc'"),
        (lambda t: Trajectory({"x": np.zeros(3)}, [[0.0], [1.0, 2.0]]), "times must be finite numbers"),
        (lambda t: Trajectory([np.zeros(3)]), "arrays must be a dict of them by name, got list"),
        (lambda t: Trajectory({"x": [[1.0], [1.0, 2.0]]}), "x must be an array of numbers"),
        (lambda t: Trajectory({}, stills={"a": [[1.0], [1.0, 2.0]]}), "stills must be arrays of numbers"),
        (lambda t: Trajectory({"x": np.zeros(3)}, units={"x": 3}), "units must be texts, got 3 for x"),
        (lambda t: Trajectory({"x": np.zeros(3)}, scene="x"), "a scene must consist of parts"),
        (lambda t: Trajectory({"x": np.zeros(3)}, [0.0, 1.0]), "times must be as many as the frames of x"),
        (lambda t: Trajectory({"x": 1.0}), "x must be an array of numbers with time as its first axis"),
        (lambda t: Trajectory({"x": ["a", "b"]}), "x must be an array of numbers"),
        (lambda t: Trajectory({"x": np.zeros(3)}, units={"y": "m"}), "units must be of the arrays x, got y"),
        (lambda t: Trajectory({}, stills={"a": ["b"]}), "stills must be arrays of numbers, got a"),
        (lambda t: Trajectory({3: np.zeros(3)}), "names of arrays must be texts"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(made())


def test_the_frame_at_a_time():
    t, known = made(), arrays()
    for when, k in [(0.0, 0), (0.34, 3), (1e9, 10), (-np.inf, 0), (np.inf, 10)]:
        found = t.at(when)
        assert np.array_equal(found["x"], known["x"][k])
        assert np.array_equal(found["policy.u"], known["policy.u"][min(k, 9)])
    assert np.array_equal(t["x"].at(0.5), known["x"][5])


def test_worlds():
    t = of_worlds()
    one = t.world(2)
    assert (t.worlds, one.worlds, one["q"].shape, one["q"].worlds) == (6, 0, (40, 3), 0)
    assert np.array_equal(one["q"], t["q"][:, 2])
    assert isinstance(t["q"][:, 2], Signal)
    assert type(t["q"][3, 2]) is np.ndarray
    with pytest.raises(ConfigError, match="world must be a number from 0 to 5, got 6"):
        t.world(6)


# ---- a signal is an array ----


def test_a_signal_is_an_array():
    x, plain = made()["x"], arrays()["x"]
    assert (x.name, x.unit, x.components, x.time_unit) == ("x", "m", (2,), "s")
    computed = [
        x + 1, 2 * x, x @ np.eye(2), -x, x > 0, np.sin(x), np.mean(x, axis=0), x.mean(axis=0), x.sum(0), x.T,
        x.reshape(-1), x.ravel(), x.cumsum(0), x.swapaxes(0, 1), np.split(x, [3])[1], np.concatenate([x, x]),
        np.linalg.norm(x, axis=-1), x[..., 0], x[3], x[:, 1], x[()] if x[()].ndim == 0 else x.squeeze(),
        x.argsort(0), x.round(2), x.take([0, 1], 0), x[x[:, 0, 0] > 0][:, 0], x[::-1], x[[4, 2]], x.real,
        np.where(x > 0, x, 0.0), np.copy(x), x.max(axis=0), np.add.reduce(x),
        np.unique(x, return_counts=True)[0],
    ]  # fmt: skip
    assert [k for k, array in enumerate(computed) if type(array) is not np.ndarray] == []
    assert np.array_equal(x @ np.eye(2), plain)
    for number in (x.sum(), x.max(), np.mean(x), x[0, 0, 0], x.std(), np.add.reduce(x, axis=None)):
        assert isinstance(number, float)
    kept = [x[2:5], x[::3], x[[1, 2, 7]], x[x.times > 0.45], x.copy(), x.astype(np.float32), copy.copy(x)]
    kept += [copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x[:]]
    assert [k for k, s in enumerate(kept) if not (isinstance(s, Signal) and s.unit == "m")] == []
    assert [len(s) for s in kept] == [len(s.times) for s in kept]
    assert np.array_equal(x[x.times > 0.45], plain[5:])
    assert not np.shares_memory(x.copy(), x)
    assert np.shares_memory(np.asarray(x), x)
    assert (repr(x), str(x)) == (repr(plain), str(plain))
    assert (json.loads(json.dumps(x.tolist())), [f.shape for f in x][:2]) == (plain.tolist(), [(5, 2)] * 2)


def test_a_signal_is_changed_in_place():
    x, plain = made()["x"], arrays()["x"]
    same = x
    x += 1.0
    x[0] = 0.0
    x[x > 1.5] = 0.0
    np.multiply(x, 2.0, out=x)
    np.add.at(x, (1, 0), 1.0)
    plain += 1.0
    plain[0] = 0.0
    plain[plain > 1.5] = 0.0
    plain *= 2.0
    plain[1, 0] += 1.0
    assert x is same
    assert isinstance(x, Signal)
    assert np.array_equal(x, plain)
    assert np.sum(x, where=made()["x"] > 0) == np.sum(plain, where=arrays()["x"] > 0)
    assert np.ma.masked_array(x, mask=plain == 0.0).mean() == pytest.approx(plain[plain != 0.0].mean())
    with pytest.raises(StateError, match="an array must come from a trajectory to have times"):
        np.zeros(3).view(Signal).times  # noqa: B018


# ---- files ----


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_bring_all_back(ending, tmp_path):
    path = tmp_path / f"ein Lauf é{ending}"
    t = made()
    for _ in range(2):  # the second takes the place of the first
        t.save(path)
    found = Trajectory.load(path)
    assert repr(found) == repr(t)
    for name in t:
        assert np.array_equal(found[name], t[name])
        assert found[name].dtype == t[name].dtype
        assert np.array_equal(found[name].times, t[name].times)
        assert found[name].label.to_plain() == t[name].label.to_plain()
    assert {name: array.tolist() for name, array in found.stills.items()} == {
        name: array.tolist() for name, array in t.stills.items()
    }
    assert to_plain(found.scene) == to_plain(t.scene)
    Trajectory.load(path).between(0.2, 0.5).save(tmp_path / f"part{ending}")
    assert len(Trajectory.load(tmp_path / f"part{ending}")["x"]) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, f"part{ending}"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_odd_trajectories_are_kept(ending, tmp_path):
    odd = {
        "empty": np.zeros((0, 3)), "no/slash": np.ones(2), "..": np.ones(2, np.float16),
        "__x%": np.ones((2, 0)),
        "ünï": np.array([np.nan, np.inf]), "one": np.ones((2, 1, 1, 1)),
    }  # fmt: skip
    Trajectory(odd).save(tmp_path / f"odd{ending}")
    found = Trajectory.load(tmp_path / f"odd{ending}")
    assert found.names == tuple(odd)
    assert all(np.array_equal(found[name], array, equal_nan=True) for name, array in odd.items())
    assert found.time_unit == "step"
    Trajectory({}).save(tmp_path / f"none{ending}")
    assert Trajectory.load(tmp_path / f"none{ending}").names == ()


@pytest.mark.parametrize("ending", [".h5", ".zarr"])
def test_only_what_is_asked_for_is_read(ending, tmp_path, monkeypatch):
    """What reads the file is told of frames and worlds, and the file is cut so that this helps."""
    path = tmp_path / f"large{ending}"
    t = Trajectory({**of_worlds(4000, 64, 3), "t": np.arange(4000.0)}, DT * np.arange(4000))
    t.save(path)
    from diffsim.view import chunked

    asked = []
    read = chunked._Place.read
    monkeypatch.setattr(
        chunked._Place, "read", lambda self, index: asked.append((self.name, index)) or read(self, index)
    )
    found = Trajectory.load(path)
    assert found.worlds == 64
    assert "4000 frames, t = 0 .. 399.9 s; q (4000, 64, 3) [rad]" in repr(found)
    part = found.between(1.0, 2.0).every(5).world(7)
    assert (part.shapes["q"], asked) == ((3, 3), [])
    assert np.array_equal(part["q"], t["q"][10:21:5, 7])
    assert part["q"] is part["q"]  # read once
    found.at(3.0)
    assert asked == [("q", (slice(10, 21, 5), 7)), ("q", (slice(30, 31, 1),)), ("t", (slice(30, 31, 1),))]
    assert np.array_equal(copy.deepcopy(pickle.loads(pickle.dumps(found)))["t"], t["t"])
    if ending == ".h5":
        import h5py

        with h5py.File(path) as file:
            q = file["signals/q"]
            assert (q.chunks[1:], q.compression, q.attrs["unit"]) == ((9, 3), "gzip", "rad")
            assert 8 < q.chunks[0] < 1000
            assert file["times/q"].attrs["unit"] == "s"


@pytest.mark.parametrize("ending", ENDINGS)
def test_bad_files_and_places(ending, tmp_path):
    path = tmp_path / f"t{ending}"
    with pytest.raises(ConfigError, match=r"trajectory must be a file, got .*, which is not there"):
        Trajectory.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"must hold a trajectory that Trajectory\.save wrote"):
        Trajectory.load(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"in a folder that can be written to, got .*: there is no such"):
        made().save(tmp_path / "missing" / path.name)
    if ending == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", b"")
        with pytest.raises(ConfigError, match="must hold a trajectory"):
            Trajectory.load(path)
        return
    folder = tmp_path / f"mine{ending}"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match="must be free or hold a trajectory, got a folder with other files"):
        made().save(folder)
    assert (folder / "thesis.txt").exists()
    made().save(path)
    old = Trajectory.load(path)
    made().between(0.5).save(path)
    with pytest.raises(StateError, match="must be as it was when it was loaded, got another; load it again"):
        old["x"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, folder.name])


def test_what_fails_leaves_the_old_file(tmp_path, monkeypatch):
    for ending in ENDINGS:
        path = tmp_path / f"t{ending}"
        made().save(path)
        made().save(tmp_path / f"other{ending}")
        broken = Trajectory.load(tmp_path / f"other{ending}")
        if ending == ".npz":
            monkeypatch.setattr(np, "savez_compressed", lambda *args, **arrays: 1 / 0)
        else:
            Trajectory({}).save(tmp_path / f"other{ending}")
        with pytest.raises((StateError, ZeroDivisionError)):
            broken.save(path)
        monkeypatch.undo()
        assert np.array_equal(Trajectory.load(path)["x"], arrays()["x"])
    assert sorted(os.listdir(tmp_path)) == sorted(
        f"{n}{ending}" for ending in ENDINGS for n in ("t", "other")
    )
    for name in ("t.gz", "t", "t.npy"):
        with pytest.raises(ConfigError, match=r"path must end in \.npz, \.h5, \.hdf5 or \.zarr"):
            made().save(tmp_path / name)
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diffsim\[hdf5\]'"):
        Trajectory.load(tmp_path / "t.h5")
    with pytest.raises(MissingExtraError, match=r"pip install 'diffsim\[zarr\]'"):
        made().save(tmp_path / "t.zarr")


def test_arrays_in_a_scene_are_stills(tmp_path):
    scene = [ds.scene.Lines("x", [[0, 1], [1, 2]]), ds.scene.Points(np.ones((2, 2)))]
    drawn = Trajectory({"x": np.zeros((4, 3, 2))}, scene=scene)
    assert {name: array.shape for name, array in drawn.stills.items()} == {
        "scene.0.pairs": (2, 2),
        "scene.1.positions": (2, 2),
    }
    assert "<svg" in drawn._repr_html_()
    drawn.save(tmp_path / "a.npz")
    again = Trajectory.load(tmp_path / "a.npz")[1:]
    assert again.scene.parts[0].pairs == "scene.0.pairs"
    assert len(list(again.export(tmp_path / "a.ply").iterdir())) == 4  # three frames, and the list of them

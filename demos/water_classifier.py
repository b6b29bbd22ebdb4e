"""Find waves that hide a digit from a neural network: `diffsim train water_classifier` (extra `torch`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.demos.water_renderer import Panels, shown_steps
from diffsim.tasks import Options, Recording, Task, option
from diffsim.view.style import word_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.kernels.water_renderer import WaterClassifier, WaterRendererConfig
    from diffsim.rollout import Rollout
    from diffsim.view import Film
    from diffsim.view.trajectory import Trajectory

__all__ = ["Network", "WaterClassifierTask", "train_network"]

_FRAMES = 32  # of a film, from the first step to the last
_HOLD = 10  # frames for which the last one stays
_GUESS = 0.2  # [mm] standard deviation of the control points that the search begins with
_HIDDEN = 32  # width of the network's hidden layer
_KEPT = 297  # digits that the network is tested with
_EPOCHS = 150


@dataclass(frozen=True, eq=False)
class Network:
    """A trained classifier and what it has never seen.

    Attributes:
        weights: `w0, b0, w1, b1`, as `WaterClassifier` takes them.
        accuracy: Share of the test digits that it tells rightly.
        digits: The test digits, ink in 0 .. 1, shape (m, 8, 8).
        labels: Their classes, shape (m,).
    """

    weights: tuple[NDArray[np.float64], ...]
    accuracy: float
    digits: NDArray[np.float64]
    labels: NDArray[np.int64]

    def probabilities(self, ink: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the network says of images of ink, shape (..., 8, 8): probabilities, (..., 10)."""
        from diffsim.kernels.water_renderer import SHARPNESS

        w0, b0, w1, b1 = self.weights
        seen = np.asarray(ink, dtype=np.float64).reshape(*np.shape(ink)[:-2], -1)
        powers = np.exp(SHARPNESS * np.tanh(np.tanh(seen @ w0 + b0) @ w1 + b1))
        found: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
        return found


def train_network(seed: int = 0, epochs: int = _EPOCHS) -> Network:
    """Train a small network to tell handwritten digits apart; takes about a second.

    The data are the 1797 digits of 8 x 8 pixels that scikit-learn ships (UCI, Alpaydin and Kaynak 1998,
    CC BY 4.0).

    Args:
        seed: Of its first weights, and of which digits are kept for the test.
        epochs: Passes over the training digits.

    Raises:
        MissingExtraError: PyTorch or scikit-learn is not installed.
    """
    from diffsim.extras import require

    torch = require("torch", "torch", "the task water_classifier")
    data = require("sklearn.datasets", "torch", "the task water_classifier").load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    digits, labels = data.images[order] / 16.0, data.target[order].astype(np.int64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a network so small is faster on one, and comes out the same everywhere
    try:
        weights = _fit(torch, digits[:-_KEPT], labels[:-_KEPT], seed, epochs)
    finally:
        torch.set_num_threads(threads)
    tested, truth = digits[-_KEPT:], labels[-_KEPT:]
    network = Network(weights, 0.0, tested, truth)
    right = network.probabilities(tested).argmax(axis=-1) == truth
    return dataclasses.replace(network, accuracy=float(right.mean()))


def _fit(
    torch: Any, digits: NDArray[np.float64], labels: NDArray[np.int64], seed: int, epochs: int
) -> tuple[NDArray[np.float64], ...]:
    """Fit the weights of `Network` by Adam, all digits at once."""
    from diffsim.kernels.water_renderer import SHARPNESS

    x, y = torch.from_numpy(digits.reshape(len(digits), -1)), torch.from_numpy(labels)
    dice = torch.Generator().manual_seed(seed)
    weights = []
    for n, m in ((x.shape[1], _HIDDEN), (_HIDDEN, 10)):
        weights.append((torch.randn(n, m, generator=dice, dtype=x.dtype) / n**0.5).requires_grad_())
        weights.append(torch.zeros(m, dtype=x.dtype, requires_grad=True))
    w0, b0, w1, b1 = weights
    optimizer = torch.optim.Adam(weights, lr=2e-2, weight_decay=1e-4)
    for _ in range(epochs):
        optimizer.zero_grad()
        scores = SHARPNESS * torch.tanh(torch.tanh(x @ w0 + b0) @ w1 + b1)
        torch.nn.functional.cross_entropy(scores, y).backward()
        optimizer.step()
    return tuple(w.detach().numpy().copy() for w in weights)


class WaterClassifierTask(Task):
    """Find the gentlest waves on a pool through which a network takes the digit on its floor for another.

    The network is trained with PyTorch when the task begins, on digits that scikit-learn ships; its weights
    become those of the simulator's own network, so that the gradient runs from its output through the
    picture's optics and the waves to their first height. The digit on the floor is one that it never saw, and
    tells rightly in still water.

    Args:
        config: The options.
        data: Unused.

    Raises:
        MissingExtraError: PyTorch or scikit-learn is not installed.
    """

    name = "water_classifier"
    summary = "waves that hide a digit from a neural network (needs the extra torch)"
    steps = 64
    iterations = 150
    check_steps = 8
    smoke: ClassVar[Mapping[str, Any]] = {"steps": 8, "iterations": 2, "n": 16, "controls": 8}
    optimizer: ClassVar[Mapping[str, Any]] = {"name": "adam", "lr": 0.3}
    cost_label = "cost: −log(1 − probability of the true digit) + calm"

    @dataclass(frozen=True)
    class Config(Options):
        """The options of the task."""

        n: int = option(128, "pixels along each axis, a multiple of 8", minimum=16)
        controls: int = option(16, "control points of the first height, along each axis", minimum=4)
        digit: int = option(3, "the digit on the floor", minimum=0, maximum=9)
        calm: float = option(0.01, "what height costs [1/mm²]", minimum=0.0)

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, data)
        self._trained: Network | None = None
        self._camera: Rollout | None = None

    def title(self) -> str:
        return f"waves that hide a {self.config.digit} from a network"

    @property
    def network(self) -> Network:
        """The network, trained when it is first asked for.

        Raises:
            MissingExtraError: PyTorch or scikit-learn is not installed.
        """
        if self._trained is None:
            self._trained = train_network()
        return self._trained

    def _digit(self) -> NDArray[np.float64]:
        """Choose the test digit of the wanted class that the network is surest of."""
        network, wanted = self.network, self.config.digit
        found: NDArray[np.float64] = network.digits[network.labels == wanted]
        sure = network.probabilities(found)[:, wanted]
        return found[int(np.argmax(sure))]

    def _physics(self) -> WaterRendererConfig:
        from diffsim.kernels.water_renderer import WaterRendererConfig

        return WaterRendererConfig(n=self.config.n, controls=self.config.controls)

    def build(self) -> WaterClassifier:
        from diffsim import runtime
        from diffsim.kernels.water_renderer import WaterClassifier

        rng = np.random.default_rng(runtime.seed())
        return WaterClassifier(
            self._physics(),
            self._digit(),
            self.config.digit,
            self.network.weights,
            height=_GUESS * rng.normal(size=(self.config.controls, self.config.controls)),
            calm=self.config.calm,
        )

    def wrt(self, simulator: Any) -> list[Any]:
        return [simulator.height]

    def _filmed(self, rollout: Rollout) -> Rollout:
        """Return a rollout of the same water that is filmed."""
        from diffsim.kernels.water_renderer import WaterRenderer
        from diffsim.rollout import Rollout

        sim: Any = rollout.sim
        if self._camera is None:
            pool = WaterRenderer(sim.config, floor=sim.floor.numpy(), filmed=True)
            self._camera = Rollout(pool, steps=rollout.steps + 1)
        camera: Any = self._camera.sim
        camera.height.set(sim.height.numpy())
        return self._camera

    def trajectory(self, rollout: Rollout) -> Trajectory:
        return super().trajectory(self._filmed(rollout))

    def record(self, rollout: Rollout) -> dict[str, NDArray[Any]]:
        film = self._filmed(rollout)
        sim: Any = rollout.sim
        camera: Any = film.sim
        found = film.trajectories({"u": camera.u, "picture": camera.picture})
        shown = shown_steps(rollout.steps, _FRAMES)
        picture = found["picture"][shown]
        return {
            "u": found["u"][shown].astype(np.float32),
            "picture": picture.astype(np.float32),
            "probability": self.network.probabilities(sim.ink_of(picture)),
            "times": sim.dt * shown,
        }

    def metrics(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        last = arrays["probability"][-1]
        return {
            f"probability of the true digit {self.config.digit} [%]": float(100.0 * last[self.config.digit]),
            "the network's answer": float(np.argmax(last)),
            "highest wave at first [mm]": float(np.abs(arrays["u"][0]).max()),
            "highest wave at the picture [mm]": float(np.abs(arrays["u"][-1]).max()),
            "accuracy of the network on digits that it never saw [%]": 100.0 * self.network.accuracy,
        }

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        return [self._film(recording.arrays) for recording in recordings]

    def _film(self, arrays: Mapping[str, NDArray[Any]]) -> Film:
        """Draw the pool, and beside it what the network says."""
        from diffsim.view import Film

        last = len(arrays["times"]) - 1
        size = self._physics().size
        labels = [f"t = {time:.2f} s" for time in arrays["times"]]

        def draw(axes: Axes, k: int) -> None:
            now = min(k, last)
            panels = Panels(axes, size)
            panels.picture(0, 0, arrays["picture"][now], "picture of the pool")
            _bars(axes, arrays["probability"][now], self.config.digit, panels.across, size)

        texts = labels + [labels[-1]] * (_HOLD if last else 0)
        stills = sorted({0, round(0.5 * last), last})
        return Film(draw, texts, fps=12.0, aspect=Panels.aspect(), stills=stills)


def _bars(axes: Axes, probability: NDArray[Any], true: int, left: float, size: float) -> None:
    """Draw a bar for each class in the square right of the picture, from `left` on."""
    from diffsim.view.style import GOAL, HEAD, INK, QUIET

    x0, wide, pitch = left + 0.26 * size, 0.54 * size, size / len(probability)
    answer = int(np.argmax(probability))
    axes.text(
        left,
        1.03 * size,
        f"the network sees a {answer}",
        fontsize=word_size(axes, 7.5),
        color=INK,
        va="bottom",
    )
    for k, share in enumerate(probability):
        y = size - (k + 0.5) * pitch
        color = GOAL if k == true else HEAD if k == answer else QUIET
        axes.barh(y, wide, 0.7 * pitch, x0, color="#eef1f4")
        axes.barh(y, wide * float(share), 0.7 * pitch, x0, color=color)
        name, ink = (f"true {k}", GOAL) if k == true else (str(k), INK)
        axes.text(x0 - 0.03 * size, y, name, fontsize=word_size(axes), color=ink, ha="right", va="center")
        percent = f"{100.0 * share:.0f} %"
        axes.text(x0 + wide + 0.03 * size, y, percent, fontsize=word_size(axes, 6), color=INK, va="center")
    axes.set_xticks([0.0, 0.5 * size, size])  # of the picture only

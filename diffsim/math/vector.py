"""Lengths and directions of vectors, with gradients at the zero vector."""

from diffsim import _taichi
from diffsim.language.adjoints import adjoint_of

__all__ = ["norm", "normalized"]

ti = _taichi.ti


@ti.func
def norm(v, eps=0.0):
    """Return `sqrt(v · v + eps)`; without `eps` the gradient at `v = 0` is 0.

    Args:
        v: A vector, or a matrix, of which the Frobenius norm is taken.
        eps: A number, at least 0.
    """
    return v.norm(eps)


@adjoint_of(norm, primitive=True)
@ti.func
def _norm_adjoint(v, eps, length, length_adj):
    share = ti.select(length > 0.0, length_adj / ti.select(length > 0.0, length, 1.0), 0.0)
    return share * v, 0.5 * share


@ti.func
def normalized(v):
    """Return `v / |v|`, and 0 with gradient 0 at `v = 0`.

    Args:
        v: A vector, or a matrix, which is divided by its Frobenius norm.
    """
    length = v.norm()
    return v * ti.select(length > 0.0, 1.0 / ti.select(length > 0.0, length, 1.0), 0.0)


@adjoint_of(normalized, primitive=True)
@ti.func
def _normalized_adjoint(v, u, u_adj):
    length = v.norm()
    scale = ti.select(length > 0.0, 1.0 / ti.select(length > 0.0, length, 1.0), 0.0)
    return scale * (u_adj - (u * u_adj).sum() * u)

"""What a deformation costs: stresses and energies of elastic solids, muscles and liquids, in 2D and 3D alike.

`F` is the deformation gradient, D x D, `J = det F` the change of volume. A solid tells its energy per
reference volume `psi(F)` [J/m^3] and its Kirchhoff stress `tau = (d psi / d F) F^T` [Pa]; the Cauchy stress
is `tau / J`. All stresses are symmetric, so that they turn nothing by themselves. In 2D they are those of
plane strain.
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import taichi as ti

import diffsim as ds
from diffsim.errors import ConfigError

__all__ = [
    "fixed_corotated",
    "fixed_corotated_energy",
    "lame",
    "liquid_pressure",
    "muscle",
    "muscle_energy",
    "pressure_wave_modulus",
    "rotation",
    "viscous",
]


def lame(young: float, poisson: float) -> tuple[float, float]:
    """Return the shear modulus `mu` and Lamé's `la` [Pa] of an isotropic solid.

    `mu = E / (2 (1 + nu))`, `la = E nu / ((1 + nu) (1 - 2 nu))`: three dimensions, or plane strain.

    Args:
        young: Young's modulus E [Pa], positive.
        poisson: Poisson's ratio nu, above -1 and below 1/2.

    Raises:
        ConfigError: A number is out of its range.
    """
    if not young > 0.0:
        raise ConfigError(f"young must be a number above 0, got {young!r}; pass Young's modulus in Pa")
    if not -1.0 < poisson < 0.5:
        raise ConfigError(f"poisson must lie between -1 and 0.5, got {poisson!r}; 0.2 is common")
    return young / (2.0 * (1.0 + poisson)), young * poisson / ((1.0 + poisson) * (1.0 - 2.0 * poisson))


def pressure_wave_modulus(young: float, poisson: float) -> float:
    """Return `la + 2 mu` [Pa]: sound in a solid of density rho runs at `sqrt((la + 2 mu) / rho)`.

    Args:
        young: As in `lame`.
        poisson: As in `lame`.

    Raises:
        ConfigError: A number is out of its range.
    """
    mu, la = lame(young, poisson)
    return la + 2.0 * mu


@ti.func
def rotation(F):
    """Return the rotation R of the polar decomposition `F = R S`, S symmetric.

    Args:
        F: 2 x 2 or 3 x 3.

    Differentiability: as `ds.math.polar2` and `polar3`, at equal singular values too.
    """
    R = F
    if ti.static(F.n == 2):
        R, _ = ds.math.polar2(F)
    else:
        R, _ = ds.math.polar3(F)
    return R


@ti.func
def fixed_corotated(F, mu, la):
    """Return the Kirchhoff stress `2 mu (F - R) F^T + la J (J - 1) I` of a fixed corotated solid [Pa].

    Args:
        F: The deformation gradient, 2 x 2 or 3 x 3.
        mu: Shear modulus [Pa].
        la: Lamé's second modulus [Pa].

    Differentiability: everywhere but where the two smallest singular values of F add up to 0 (inverted, and
    as far as it is squeezed); there R counts as constant.

    Reference: Stomakhin, Howes, Schroeder, Teran, "Energetically consistent invertible elasticity" (2012).
    """
    J = F.determinant()
    tau = 2.0 * mu * (F - rotation(F)) @ F.transpose()
    for d in ti.static(range(F.n)):
        tau[d, d] += la * J * (J - 1.0)
    return tau


@ti.func
def fixed_corotated_energy(F, mu, la):
    """Return the energy per volume `mu |F - R|^2 + la (J - 1)^2 / 2` [J/m^3] of a fixed corotated solid.

    Args:
        F: As in `fixed_corotated`.
        mu: Shear modulus [Pa].
        la: Lamé's second modulus [Pa].

    Reference: Stomakhin et al. (2012).
    """
    J = F.determinant()
    energy = 0.5 * la * (J - 1.0) ** 2
    gap = F - rotation(F)
    for i, j in ti.static(ti.ndrange(F.n, F.n)):
        energy += mu * gap[i, j] ** 2
    return energy


@ti.func
def muscle(F, fibre, tension):
    """Return the Kirchhoff stress `T (F f) (F f)^T` [Pa] of a muscle that pulls along its fibres.

    Args:
        F: The deformation gradient.
        fibre: The fibres' direction f in the undeformed body, of length 1.
        tension: T [Pa]: the pull per area at the length of rest; it grows with the stretch. Negative, it
            pushes.
    """
    along = F @ fibre
    return tension * along.outer_product(along)


@ti.func
def muscle_energy(F, fibre, tension):
    """Return the energy per volume `T (|F f|^2 - 1) / 2` [J/m^3] whose stress is `muscle`.

    Args:
        F: As in `muscle`.
        fibre: As in `muscle`.
        tension: As in `muscle`.
    """
    along = F @ fibre
    return 0.5 * tension * (along.dot(along) - 1.0)


@ti.func
def liquid_pressure(J, bulk, gamma):
    """Return the pressure `K (J^-gamma - 1) / gamma` [Pa] of a weakly compressible liquid.

    Its Kirchhoff stress is `-J p I`. Near rest `p = K (1 - J)`: sound runs at `sqrt(K / rho)`.

    Args:
        J: Volume over volume at rest, positive.
        bulk: The bulk modulus K [Pa].
        gamma: How fast it stiffens when squeezed; 7 for water (Cole 1948), 1 for an ideal gas.
    """
    return bulk / gamma * (J ** (-gamma) - 1.0)


@ti.func
def viscous(gradient, viscosity):
    """Return the Cauchy stress `eta (G + G^T - 2/D tr G I)` [Pa] of a Newtonian liquid.

    Args:
        gradient: The velocity's gradient G [1/s], D x D.
        viscosity: The dynamic viscosity eta [Pa s].
    """
    stress = viscosity * (gradient + gradient.transpose())
    swelling = 2.0 / gradient.n * viscosity * gradient.trace()
    for d in ti.static(range(gradient.n)):
        stress[d, d] -= swelling
    return stress

"""Impacts of points, planes and spheres: when they meet within a step, and the impulse that they exchange.

A step that finds two bodies overlapping and turns their velocities around does not know *when* they met. Its
gradient misses that who starts closer turns around earlier; the sign can come out wrong. Here the moment is
computed: who meets at time `s` within a step of length `dt` moves with the old velocity until then, and with
the new one after::

    x+ = x + s v + (dt - s) v' = x + dt v' - s (v' - v)

A time before the step's start, `s < 0`, is an impact that the step before was not told of: the same formula
makes up for it. Everything is written for vectors of any dimension; only what turns is 2D or 3D.

Reference: Hu et al., DiffTaichi, ICLR 2020 (time of impact); Mirtich and Canny 1995 (impulses at a point).
"""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
import taichi as ti

import diffsim as ds

__all__ = [
    "contact_impulse",
    "plane_impact",
    "point_mobility",
    "rebound_impulse",
    "slowed",
    "spheres_impact",
    "turning",
]

# Of `n·K n`. Where friction presses a body into the ground harder than its impulse lifts it (Painlevé), no
# impulse with friction gives the wanted velocity; this share bounds the impulse.
_LEAST_SHARE = 0.1


@ti.func
def plane_impact(gap, speed, dt, pull=0.0, least=1e-4):
    """Return the time at which a point meets a plane, or `dt` if it does not within the step.

    It is the root of `gap + speed s - pull s² / 2 = 0` on the way in, in the form without cancellation::

        s = 2 gap / (-speed + sqrt(speed² + 2 pull gap))     and so -gap / speed without a pull

    Then `speed - pull s` is the velocity at the impact. That it depends on the height of the fall is seen by
    the gradient; it is not where a step adds gravity's part to the velocity as a whole.

    Args:
        gap: Distance of the point (of a sphere: less its radius) from the plane along its normal [m].
            Negative behind the plane, which it then met at `s < 0`.
        speed: Velocity along the normal at the step's start [m/s]; negative comes closer.
        dt: Length of the step [s].
        pull: Constant acceleration toward the plane [m/s²], not negative.
        least: Who has come closer no faster than this by the step's end does not meet it, and who meets it no
            faster does so at `s = 0`: it lies on the plane [m/s]; above 0. Bounds the derivatives.

    Returns:
        A time below `dt`, or `dt` where there is no impact.

    Differentiability: in gap, speed and pull; whether they meet is a kink, where the derivative is of the
    side taken.
    """
    meets = (speed - dt * pull < -least) & (gap + dt * (speed - 0.5 * dt * pull) < 0.0)
    square = speed * speed + 2.0 * pull * gap
    strikes = meets & (square > least * least) & ((speed < 0.0) | (gap > 0.0))
    root = ti.sqrt(ti.select(strikes, square, 1.0))
    # Divisors are replaced where they are not used: no infinity enters the derivative.
    rises = strikes & (speed > 0.0)
    falling = 2.0 * gap / ti.select(strikes & (speed <= 0.0), root - speed, 1.0)
    rising = (root + speed) / ti.select(rises, pull, 1.0)
    return ti.select(strikes, ti.select(rises, rising, falling), ti.select(meets, 0.0, dt))


@ti.func
def spheres_impact(offset, velocity, reach, dt, least=1e-4):
    """Return the time at which two spheres (in 2D, circles) meet, or `dt` if they do not within the step.

    It is the smaller root of `|offset + s velocity|² = reach²`, in the form without cancellation::

        s = (offset² - reach²) / (a + sqrt(a² - velocity² (offset² - reach²))),   a = -offset·velocity > 0

    Args:
        offset: From one centre to the other [m]; any dimension.
        velocity: Of the other relative to the one [m/s].
        reach: Sum of the radii [m], above 0.
        dt: Length of the step [s].
        least: Who meets with a lower speed along the line of centres does not meet [m/s]; above 0.

    Returns:
        A time below `dt`, negative where they overlap already, or `dt` where there is no impact.

    Differentiability: in offset, velocity and reach. Toward a grazing impact the derivative grows without
    bound, as it does in nature; `least` cuts what grazes, and its derivative is that of a miss, 0.
    """
    closing = -offset.dot(velocity)
    outside = offset.dot(offset) - reach * reach
    # The square root of it is the speed along the line of centres at the impact, times reach.
    square = closing * closing - velocity.dot(velocity) * outside
    meets = (closing > 0.0) & (square > (least * reach) ** 2)
    root = ti.sqrt(ti.select(meets, square, 1.0))
    time = outside / ti.select(meets, closing + root, 1.0)
    return ti.select(meets & (time < dt), time, dt)


@ti.func
def rebound_impulse(mobility, speed, restitution):
    """Return the impulse along the normal that ends an approach: `-(1 + restitution) speed / mobility`.

    Args:
        mobility: Change of the relative normal velocity by a unit impulse [1/kg], above 0; of two spheres
            `1 / m_a + 1 / m_b`.
        speed: Relative velocity along the normal [m/s]; negative comes closer.
        restitution: Share of the speed that is kept, 0 .. 1.

    Returns:
        An impulse [kg m/s], 0 for what moves apart.
    """
    return -(1.0 + restitution) * ti.min(speed, 0.0) / mobility


@ti.func
def turning(spin, arm):
    """Return the velocity `spin x arm` [m/s] of a point of a body that turns.

    Args:
        spin: Angular velocity [rad/s]: a number for a planar arm, a vector for one in space.
        arm: From the centre of mass to the point [m], two or three components.
    """
    velocity = 0.0 * arm
    if ti.static(arm.n == 2):
        velocity = ti.Vector([-spin * arm[1], spin * arm[0]])
    else:
        velocity = ti.math.cross(spin, arm)
    return velocity


@ti.func
def point_mobility(inverse_mass, inverse_inertia, arm):
    """Return the inverse effective mass at a point of a rigid body, the matrix `K` with `dv = K impulse`.

    `K = 1/m - [arm] I⁻¹ [arm]` with `[arm] v = arm x v`; in 2D `1/m + q qᵀ / I`, `q = (-arm_y, arm_x)`.

    Args:
        inverse_mass: [1/kg]; 0 for a body that cannot be moved.
        inverse_inertia: [1/(kg m²)]: a number for a planar arm, a 3 x 3 matrix for one in space.
        arm: From the centre of mass to the point [m], two or three components.

    Returns:
        A symmetric matrix [1/kg], positive definite for a positive inverse mass.
    """
    matrix = 0.0 * arm.outer_product(arm)
    if ti.static(arm.n == 2):
        across = ti.Vector([-arm[1], arm[0]])
        matrix += inverse_inertia * across.outer_product(across)
    else:
        hat = ti.Matrix([[0.0, -arm[2], arm[1]], [arm[2], 0.0, -arm[0]], [-arm[1], arm[0], 0.0]])
        matrix -= hat @ inverse_inertia @ hat
    for d in ti.static(range(arm.n)):
        matrix[d, d] += inverse_mass
    return matrix


@ti.func
def contact_impulse(mobility, velocity, normal, rebound, friction):
    """Return the impulse of a contact with Coulomb friction.

    First the impulse `J = K⁻¹ (rebound n - v)` that ends all sliding. Where its tangential part is more than
    `friction` times the normal part, the contact slips instead, along the direction `d` of that part::

        J = j (n + friction d),   j = (rebound - v·n) / (n·K (n + friction d))

    so that the normal velocity is `rebound` afterwards either way. At the border of the cone both are equal.

    Args:
        mobility: The inverse effective mass `K` at the contact [1/kg], see `point_mobility`.
        velocity: Relative velocity at the contact [m/s].
        normal: Unit normal; the impulse pushes along it, never pulls.
        rebound: Normal velocity after the impact [m/s]: minus restitution times that before it.
        friction: Coulomb's coefficient, not negative.

    Returns:
        An impulse [kg m/s]; 0 where the normal velocity is `rebound` or more already.

    Differentiability: sticking, slipping and parting have kinks between them. In 3D the slip keeps the
    direction of the sticking impulse. Where friction presses harder than the normal impulse lifts (Painlevé's
    paradox), `n·K (n + friction d)` is taken to be a tenth of `n·K n`.
    """
    lift = rebound - velocity.dot(normal)
    impulse = ds.math.inverse(mobility) @ (rebound * normal - velocity)
    along = impulse.dot(normal)
    across = impulse - along * normal
    drag = ds.math.norm(across)
    if drag > friction * along:
        direction = across / ti.select(drag > 0.0, drag, 1.0)
        column = mobility @ normal
        stiff = column.dot(normal)
        share = ti.max(stiff + friction * column.dot(direction), _LEAST_SHARE * stiff)
        impulse = lift / share * (normal + friction * direction)
    return ti.select(lift > 0.0, 1.0, 0.0) * impulse


@ti.func
def slowed(velocity, loss):
    """Return a velocity after friction took `loss` off its length, `v max(0, 1 - loss / |v|)`.

    Args:
        velocity: [m/s], any dimension.
        loss: What a step takes off the speed [m/s], not negative; of Coulomb's friction `friction g dt`.

    Differentiability: what comes or is held to rest has derivative 0; that is a kink. Without a loss it is 1,
    at rest too.
    """
    speed = ds.math.norm(velocity)
    moves = speed > loss
    held = ti.select(loss > 0.0, 0.0, 1.0)
    return ti.select(moves, 1.0 - loss / ti.select(moves, speed, 1.0), held) * velocity

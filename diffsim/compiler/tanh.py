"""tanh in f64 arithmetic, right for f32, as a quotient of two polynomials: for compilers that lack it.

tanh(x) = x p(x^2) / q(x^2) for |x| up to `END`, to 2^-29.5; beyond it 1 is the nearest number of f32. All
coefficients are positive, so that it does not matter in which order a compiler adds the terms.
Coefficients: `python -m benchmarks.minimax`.
"""

__all__ = ["BELOW", "END", "OVER"]

END = 9.25
OVER = (
    *(0.9999999987440696, 0.13774250768269103, 0.003994351637956634, 3.128170730942686e-05),
    4.968676979390793e-08,
)
BELOW = (
    *(1.0, 0.47107582893595296, 0.027686313982429593, 0.00041818244564830956, 1.5936978738973601e-06),
    7.158655804136794e-10,
)

/* A chain of masses and springs in C: value and gradient, for `compilers`; the equations are in chain_problem.py.
   Positions are kept for every step, velocities are not needed on the way back. Rows have a place beyond either
   end for the walls, which stay at zero. */
typedef REAL real;

#define ROW (MASSES + 2)
#define C(x) ((real)(x))

/* x has steps + 1 rows, the first of them given and the walls of all zero; v: the first velocities. */
double value(int steps, const real *restrict stiffness, real *restrict x, const real *first, const real *target) {
  real v[MASSES];
  for (int i = 0; i < MASSES; i++) v[i] = first[i];
  for (int t = 0; t < steps; t++) {
    const real *restrict now = x + (long)t * ROW;
    real *restrict next = x + (long)(t + 1) * ROW;
    for (int i = 0; i < MASSES; i++) {
      real force = stiffness[i + 1] * (now[i + 2] - now[i + 1]) - stiffness[i] * (now[i + 1] - now[i]);
      v[i] += C(DT) * force;
      next[i + 1] = now[i + 1] + C(DT) * v[i];
    }
  }
  const real *last = x + (long)steps * ROW;
  double cost = 0;
  for (int i = 0; i < MASSES; i++) cost += (last[i + 1] - target[i]) * (last[i + 1] - target[i]);
  return cost / MASSES;
}

/* gx, gv, gk: the gradient by first positions, first velocities and the MASSES + 1 stiffnesses. */
double value_and_grad(int steps, const real *restrict stiffness, real *restrict x, const real *first,
                      const real *target, real *gx, real *gv, real *gk) {
  double cost = value(steps, stiffness, x, first, target);
  real a[MASSES], b[ROW] = {0}, k[MASSES + 1] = {0}; /* adjoints of position, velocity (with walls), stiffness */
  const real *last = x + (long)steps * ROW;
  for (int i = 0; i < MASSES; i++) a[i] = 2 * (last[i + 1] - target[i]) / MASSES;
  for (int t = steps - 1; t >= 0; t--) {
    const real *restrict now = x + (long)t * ROW;
    for (int i = 0; i < MASSES; i++) b[i + 1] += C(DT) * a[i];
    for (int s = 0; s <= MASSES; s++) k[s] += (now[s + 1] - now[s]) * (b[s] - b[s + 1]);
    for (int i = 0; i < MASSES; i++)
      a[i] += C(DT) * (stiffness[i + 1] * (b[i + 2] - b[i + 1]) - stiffness[i] * (b[i + 1] - b[i]));
  }
  for (int i = 0; i < MASSES; i++) gx[i] = a[i], gv[i] = b[i + 1];
  for (int s = 0; s <= MASSES; s++) gk[s] = C(DT) * k[s];
  return cost;
}

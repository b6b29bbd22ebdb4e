/* The wave equation in C: value and gradient, for `wave`; the equation is in wave_problem.py. Every step is
   kept on the way forward, as a program must whose equation is not linear; the way back needs three fields. */
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

static void move(int n, real speed, real kept, const real *restrict u, const real *restrict old, real *restrict next) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++) {
      int k = i * n + j;
      real around = u[k - n] + u[k + n] + u[k - 1] + u[k + 1];
      next[k] = u[k] + kept * (u[k] - old[k]) + speed * (around - 4 * u[k]);
    }
}

/* a = adjoint of u[t] from b = that of u[t + 1] and c = that of u[t + 2] (the rim of both is zero) */
static void back(int n, real speed, real kept, const real *restrict b, const real *restrict c, real *restrict a) {
  for (int i = 1; i < n - 1; i++)
    for (int j = 1; j < n - 1; j++) {
      int k = i * n + j;
      real around = b[k - n] + b[k + n] + b[k - 1] + b[k + 1];
      a[k] = b[k] + kept * (b[k] - c[k]) + speed * (around - 4 * b[k]);
    }
}

/* u has steps + 1 fields of n * n, the first of them given and the rims of all zero. */
double value(int n, int steps, double speed, double kept, real *u, const real *target) {
  long size = (long)n * n;
  for (int t = 0; t < steps; t++)
    move(n, speed, kept, u + t * size, u + (t ? t - 1 : 0) * size, u + (t + 1) * size);
  const real *last = u + steps * size;
  double cost = 0;
  for (long k = 0; k < size; k++) cost += (last[k] - target[k]) * (last[k] - target[k]);
  return cost / size;
}

/* ring: three fields of n * n, zero at the start; gradient: one, its rim is left alone. */
double value_and_grad(int n, int steps, double speed, double kept, real *u, const real *target, real *ring,
                      real *gradient) {
  long size = (long)n * n;
  double cost = value(n, steps, speed, kept, u, target);
  real *a = ring, *b = ring + size, *c = ring + 2 * size;
  const real *last = u + steps * size;
  for (int i = 1; i < n - 1; i++)
    for (int k = i * n + 1; k < i * n + n - 1; k++) {
      b[k] = 2 * (last[k] - target[k]) / size;
      c[k] = 0;
    }
  for (int t = steps - 1; t > 0; t--) {
    back(n, speed, kept, b, c, a);
    real *spare = c;
    c = b, b = a, a = spare;
  }
  for (int i = 1; i < n - 1; i++) /* step 0, which reads u[0] as u[-1] too */
    for (int j = 1; j < n - 1; j++) {
      int k = i * n + j;
      real around = b[k - n] + b[k + n] + b[k - 1] + b[k + 1];
      gradient[k] = b[k] - kept * c[k] + speed * (around - 4 * b[k]);
    }
  return cost;
}

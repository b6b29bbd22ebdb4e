/* The mass-spring robots in C: value and gradient, for `mass_spring` and `compilers`; what the robot is, is in
   mass_spring_problem.py. Every step is kept on the way forward. Sizes and constants are known when it compiles,
   rows are padded to whole vectors, and a layer's weights lie both ways round, so that every inner loop runs
   along memory and no sum crosses a vector. */
#include <tgmath.h>

typedef REAL real;

#define INPUTS (SINES + 4 * POINTS + 2)
#define PAD(n) (((n) + 15) / 16 * 16)
#define SHARE ((real)1 / POINTS)
#define C(x) ((real)(x))

typedef struct {
  int a[SPRINGS], b[SPRINGS];
  real rest[SPRINGS], gain[SPRINGS], limit[SPRINGS]; /* gain: DT * stiffness */
} Robot;

typedef struct { /* w[layer][input][output] */
  real w0[INPUTS][HIDDEN], b0[HIDDEN], w1[HIDDEN][PAD(SPRINGS)], b1[PAD(SPRINGS)];
} Net;

typedef struct {
  real w0[HIDDEN][PAD(INPUTS)], w1[SPRINGS][HIDDEN];
} Turned;

typedef struct {
  real x[POINTS], y[POINTS], u[POINTS], v[POINTS]; /* positions and velocities at the start of the step */
  real moved_u[POINTS], moved_v[POINTS];           /* velocities before the ground */
  real seen[PAD(INPUTS)], hidden[HIDDEN], act[PAD(SPRINGS)];
} Step;

static void look(Step *s, int t) {
  real cx = 0, cy = 0;
  for (int i = 0; i < POINTS; i++) cx += s->x[i], cy += s->y[i];
  cx *= SHARE, cy *= SHARE;
  for (int k = 0; k < PAD(SINES); k++) /* those behind the last are overwritten */
    s->seen[k] = sin(C(OMEGA * DT) * t + C(2 * 3.14159265358979323846 / SINES) * k);
  real *point = s->seen + SINES;
  for (int i = 0; i < POINTS; i++) {
    point[4 * i] = C(INPUT_SCALE) * (s->x[i] - cx);
    point[4 * i + 1] = C(INPUT_SCALE) * (s->y[i] - cy);
    point[4 * i + 2] = C(INPUT_SCALE) * s->u[i];
    point[4 * i + 3] = C(INPUT_SCALE) * s->v[i];
  }
  point[4 * POINTS] = C(GOAL_X) - cx;
  point[4 * POINTS + 1] = C(GOAL_Y) - cy;
}

static void think(const Net *net, Step *s) {
  real sum[HIDDEN], act[PAD(SPRINGS)];
  for (int i = 0; i < HIDDEN; i++) sum[i] = net->b0[i];
  for (int j = 0; j < INPUTS; j++)
    for (int i = 0; i < HIDDEN; i++) sum[i] += net->w0[j][i] * s->seen[j];
  for (int i = 0; i < HIDDEN; i++) s->hidden[i] = tanh(sum[i]);
  for (int k = 0; k < PAD(SPRINGS); k++) act[k] = net->b1[k];
  for (int i = 0; i < HIDDEN; i++)
    for (int k = 0; k < PAD(SPRINGS); k++) act[k] += net->w1[i][k] * s->hidden[i];
  for (int k = 0; k < PAD(SPRINGS); k++) s->act[k] = tanh(act[k]);
}

static void move(const Robot *r, Step *restrict s, Step *restrict next) {
  real push_x[SPRINGS], push_y[SPRINGS], impulse_x[POINTS] = {0}, impulse_y[POINTS] = {0};
  for (int k = 0; k < SPRINGS; k++) {
    real dx = s->x[r->a[k]] - s->x[r->b[k]], dy = s->y[r->a[k]] - s->y[r->b[k]];
    real target = r->rest[k] * (1 + r->limit[k] * s->act[k]);
    real pull = r->gain[k] * (1 - target / sqrt(dx * dx + dy * dy));
    push_x[k] = pull * dx, push_y[k] = pull * dy;
  }
  for (int k = 0; k < SPRINGS; k++) {
    impulse_x[r->a[k]] -= push_x[k], impulse_y[r->a[k]] -= push_y[k];
    impulse_x[r->b[k]] += push_x[k], impulse_y[r->b[k]] += push_y[k];
  }
  for (int i = 0; i < POINTS; i++) {
    real u = C(DECAY) * s->u[i] + impulse_x[i], v = C(DECAY) * s->v[i] + impulse_y[i] + C(DT * GRAVITY);
    real height = s->y[i] - C(GROUND);
    int hits = (v < C(-AT_REST)) & (height + C(DT) * v < 0);
    real flight = hits ? -height / (hits ? v : -1) : C(DT);
    s->moved_u[i] = u, s->moved_v[i] = v;
    next->x[i] = s->x[i] + flight * u, next->y[i] = s->y[i] + flight * v;
    next->u[i] = hits ? 0 : u, next->v[i] = hits ? 0 : v;
  }
}

typedef struct {
  real x[POINTS], y[POINTS], u[POINTS], v[POINTS];
} Adjoint;

/* g: from the adjoint of the next step's state to that of this step's; act: that of the commands */
static void move_back(const Robot *r, const Step *s, Adjoint *g, real *act) {
  real mu[POINTS], mv[POINTS], back_x[SPRINGS], back_y[SPRINGS];
  for (int i = 0; i < POINTS; i++) {
    real u = s->moved_u[i], v = s->moved_v[i], height = s->y[i] - C(GROUND);
    int hits = (v < C(-AT_REST)) & (height + C(DT) * v < 0);
    real per_v = 1 / (hits ? v : -1);
    real flight = hits ? -height * per_v : C(DT);
    real early = hits ? -per_v * (g->x[i] * u + g->y[i] * v) : 0; /* adjoint of the height */
    mu[i] = flight * g->x[i] + (hits ? 0 : g->u[i]);
    mv[i] = flight * g->y[i] + (hits ? 0 : g->v[i]) + flight * early;
    g->y[i] += early;
    g->u[i] = C(DECAY) * mu[i], g->v[i] = C(DECAY) * mv[i];
  }
  for (int k = 0; k < SPRINGS; k++) {
    int a = r->a[k], b = r->b[k];
    real dx = s->x[a] - s->x[b], dy = s->y[a] - s->y[b], gx = mu[b] - mu[a], gy = mv[b] - mv[a];
    real per = 1 / sqrt(dx * dx + dy * dy);
    real target = r->rest[k] * (1 + r->limit[k] * s->act[k]);
    real pull = r->gain[k] * (1 - target * per);
    real along = r->gain[k] * per * (gx * dx + gy * dy); /* minus the adjoint of the target */
    real stretch = along * target * per * per;
    back_x[k] = pull * gx + stretch * dx, back_y[k] = pull * gy + stretch * dy;
    act[k] = -along * r->rest[k] * r->limit[k];
  }
  for (int k = 0; k < SPRINGS; k++) {
    g->x[r->a[k]] += back_x[k], g->y[r->a[k]] += back_y[k];
    g->x[r->b[k]] -= back_x[k], g->y[r->b[k]] -= back_y[k];
  }
}

static void think_back(const Turned *net, const Step *s, const real *act, Net *grad, real *seen) {
  real sum[PAD(SPRINGS)], hidden[HIDDEN] = {0};
  for (int k = 0; k < PAD(SPRINGS); k++) sum[k] = act[k] * (1 - s->act[k] * s->act[k]);
  for (int k = 0; k < PAD(SPRINGS); k++) grad->b1[k] += sum[k];
  for (int i = 0; i < HIDDEN; i++)
    for (int k = 0; k < PAD(SPRINGS); k++) grad->w1[i][k] += s->hidden[i] * sum[k];
  for (int k = 0; k < SPRINGS; k++)
    for (int i = 0; i < HIDDEN; i++) hidden[i] += net->w1[k][i] * sum[k];
  for (int i = 0; i < HIDDEN; i++) hidden[i] *= 1 - s->hidden[i] * s->hidden[i];
  for (int i = 0; i < HIDDEN; i++) grad->b0[i] += hidden[i];
  for (int j = 0; j < INPUTS; j++)
    for (int i = 0; i < HIDDEN; i++) grad->w0[j][i] += s->seen[j] * hidden[i];
  for (int j = 0; j < PAD(INPUTS); j++) seen[j] = 0;
  for (int i = 0; i < HIDDEN; i++)
    for (int j = 0; j < PAD(INPUTS); j++) seen[j] += net->w0[i][j] * hidden[i];
}

static void look_back(const real *seen, Adjoint *g) {
  const real *point = seen + SINES;
  real cx = point[4 * POINTS], cy = point[4 * POINTS + 1];
  for (int i = 0; i < POINTS; i++) cx += C(INPUT_SCALE) * point[4 * i], cy += C(INPUT_SCALE) * point[4 * i + 1];
  for (int i = 0; i < POINTS; i++) {
    g->x[i] += C(INPUT_SCALE) * point[4 * i] - SHARE * cx;
    g->y[i] += C(INPUT_SCALE) * point[4 * i + 1] - SHARE * cy;
    g->u[i] += C(INPUT_SCALE) * point[4 * i + 2];
    g->v[i] += C(INPUT_SCALE) * point[4 * i + 3];
  }
}

static void load(Net *net, const real *w0, const real *b0, const real *w1, const real *b1) {
  for (int j = 0; j < INPUTS; j++)
    for (int i = 0; i < HIDDEN; i++) net->w0[j][i] = w0[j * HIDDEN + i];
  for (int i = 0; i < HIDDEN; i++) {
    net->b0[i] = b0[i];
    for (int k = 0; k < PAD(SPRINGS); k++) net->w1[i][k] = k < SPRINGS ? w1[i * SPRINGS + k] : 0;
  }
  for (int k = 0; k < PAD(SPRINGS); k++) net->b1[k] = k < SPRINGS ? b1[k] : 0;
}

static void turn(const Net *net, Turned *turned) {
  for (int i = 0; i < HIDDEN; i++)
    for (int j = 0; j < PAD(INPUTS); j++) turned->w0[i][j] = j < INPUTS ? net->w0[j][i] : 0;
  for (int k = 0; k < SPRINGS; k++)
    for (int i = 0; i < HIDDEN; i++) turned->w1[k][i] = net->w1[i][k];
}

long bytes(int steps) { return (long)(steps + 1) * sizeof(Step); }

static double run(int steps, const Robot *robot, const real *start, const Net *net, Step *kept) {
  for (int i = 0; i < POINTS; i++) {
    kept->x[i] = start[2 * i], kept->y[i] = start[2 * i + 1];
    kept->u[i] = kept->v[i] = 0;
  }
  for (int t = 0; t < steps; t++) {
    look(kept + t, t);
    think(net, kept + t);
    move(robot, kept + t, kept + t + 1);
  }
  return -kept[steps].x[HEAD];
}

static void run_back(int steps, const Robot *robot, const Turned *turned, const Step *kept, Net *grad) {
  Adjoint g = {0};
  real act[PAD(SPRINGS)] = {0}, seen[PAD(INPUTS)];
  g.x[HEAD] = -1;
  for (int t = steps - 1; t >= 0; t--) {
    move_back(robot, kept + t, &g, act);
    think_back(turned, kept + t, act, grad, seen);
    look_back(seen, &g);
  }
}

/* start: worlds * POINTS * 2; kept: `bytes(steps)`, for one world after the other. */
double value(int steps, int worlds, const Robot *robot, const real *start, const real *w0, const real *b0,
             const real *w1, const real *b1, Step *kept) {
  Net net;
  load(&net, w0, b0, w1, b1);
  double cost = 0;
  for (int k = 0; k < worlds; k++) cost += run(steps, robot, start + 2 * POINTS * k, &net, kept);
  return cost;
}

/* The sums over worlds of cost and gradient; the gradient's arrays are those of the weights. */
double value_and_grad(int steps, int worlds, const Robot *robot, const real *start, const real *w0, const real *b0,
                      const real *w1, const real *b1, Step *kept, real *g0, real *h0, real *g1, real *h1) {
  Net net, grad = {0};
  Turned turned;
  load(&net, w0, b0, w1, b1);
  turn(&net, &turned);
  double cost = 0;
  for (int k = 0; k < worlds; k++) {
    cost += run(steps, robot, start + 2 * POINTS * k, &net, kept);
    run_back(steps, robot, &turned, kept, &grad);
  }
  for (int j = 0; j < INPUTS; j++)
    for (int i = 0; i < HIDDEN; i++) g0[j * HIDDEN + i] = grad.w0[j][i];
  for (int i = 0; i < HIDDEN; i++) {
    h0[i] = grad.b0[i];
    for (int k = 0; k < SPRINGS; k++) g1[i * SPRINGS + k] = grad.w1[i][k];
  }
  for (int k = 0; k < SPRINGS; k++) h1[k] = grad.b1[k];
  return cost;
}

// The parts of a scene, drawn with a pen that knows the plane or space.

import { css, legible, shade, shadeCount, shadeOf, usual } from "./colors.js";
import { contours, crossings, filled, pictured } from "./grids.js";
import { theme } from "./theme.js";

const SMOOTH = 24; // samples along the shorter side from which on a map blends between them

/** How the elements of a part are coloured: all alike, or by their numbers. */
class Paint {
  constructor(part, values) {
    this.color = part.kind === "lines" && !part.color ? theme("quiet") : legible(part.color || usual(part.number));
    this.values = values;
    this.part = part;
  }

  shadeOf(i) {
    return shadeOf(this.values[i], this.part.low, this.part.high, shadeCount(this.part.map));
  }

  cssOf(k) {
    return k < 0 ? theme("quiet") : css(shade(this.part.map, k));
  }

  /** Return the colour of each element. */
  list(count) {
    if (!this.values) return new Array(count).fill(this.color);
    return Array.from({ length: count }, (_, i) => this.cssOf(this.shadeOf(i)));
  }

  /** Call a function with each colour and the elements that have it. */
  each(count, draw) {
    if (!this.values) {
      draw(this.color, Array.from({ length: count }, (_, i) => i));
      return;
    }
    const groups = new Map();
    for (let i = 0; i < count; i += 1) {
      const k = this.shadeOf(i);
      if (!groups.has(k)) groups.set(k, []);
      groups.get(k).push(i);
    }
    for (const [k, chosen] of groups) draw(this.cssOf(k), chosen);
  }
}

/** Draw a part as it is in a frame; `arrays` finds an array of it by the part's attribute, or null. */
export function drawPart(pen, part, arrays, k, dimensions) {
  const draw = PAINTERS[part.kind];
  if (draw) draw(pen, part, (attribute) => arrays(part.channels[attribute], k), dimensions, arrays, k);
}

const PAINTERS = {
  points(pen, part, read, dimensions, arrays, k) {
    const places = spread(read("positions"), dimensions);
    if (!places) return;
    const paint = new Paint(part, read("values"));
    if (part.trail) trail(pen, part, arrays, k, dimensions, paint.color);
    const radii = read("radius");
    const count = places.length / dimensions;
    const fallback = Math.max(1.2, Math.min(5, Math.sqrt((pen.area.width * pen.area.height) / count) / 5));
    const one = part.radius === undefined ? fallback : Math.max(1, pen.length(part.radius));
    pen.discs(places, radii ? (i) => Math.max(1, pen.length(radii[radii.length > 1 ? i : 0])) : () => one, paint);
  },

  lines(pen, part, read, dimensions) {
    const places = spread(read("positions"), dimensions);
    if (!places) return;
    const pairs = read("pairs") || chain(places.length / dimensions, part.closed);
    pen.lines(places, pairs, part.width, new Paint(part, read("values")));
  },

  triangles(pen, part, read, dimensions) {
    const places = spread(read("positions"), dimensions);
    const faces = read("faces");
    if (!places || !faces) return;
    let values = read("values");
    if (values && part.smooth) values = meanAtFaces(values, faces);
    pen.faces(places, faces, 3, part.edges, new Paint(part, values));
  },

  boxes(pen, part, read, dimensions) {
    const centers = spread(read("centers"), dimensions);
    const sizes = read("sizes");
    if (!centers || !sizes) return;
    const paint = new Paint(part, read("values"));
    const turns = dimensions === 2 ? read("angles") : read("rotations");
    (dimensions === 2 ? flatBoxes : deepBoxes)(pen, part, centers, sizes, turns, paint);
  },

  grid(pen, part, read, dimensions) {
    if (dimensions === 3 && part.shape.length === 3) deepGrid(pen, part, read);
    else if (dimensions === 2) flatGrid(pen, part, read("values"));
  },

  vectors(pen, part, read, dimensions) {
    if (part.lines) {
      streams(pen, part, spread(read("positions"), dimensions), dimensions);
      return;
    }
    const vectors = read("vectors");
    const starts = part.starts ? part.starts.flat() : read("positions");
    if (!vectors || !starts) return;
    const color = part.color ? legible(part.color) : theme("ink");
    pen.arrows(spread(starts, dimensions), spread(vectors, dimensions), part.scale, color);
  },

  text(pen, part, read, dimensions, arrays, k) {
    if (part.at) pen.words(part.lines ? part.lines[k] : "", part.at);
  },
};

/** Give positions in the plane a third coordinate where space is drawn. */
function spread(places, dimensions) {
  if (!places || dimensions === 2 || places.width !== 2) return places;
  const count = places.length / 2;
  return Float64Array.from({ length: 3 * count }, (_, k) => (k % 3 < 2 ? places[2 * Math.floor(k / 3) + (k % 3)] : 0));
}

function chain(count, closed) {
  const found = [];
  for (let i = 1; i < count; i += 1) found.push(i - 1, i);
  if (closed && count > 2) found.push(count - 1, 0);
  return found;
}

function meanAtFaces(values, faces) {
  const found = new Float64Array(faces.length / 3);
  for (let i = 0; i < found.length; i += 1) {
    found[i] = (values[faces[3 * i]] + values[faces[3 * i + 1]] + values[faces[3 * i + 2]]) / 3;
  }
  return found;
}

/** Draw the way that the first points came. */
function trail(pen, part, arrays, k, dimensions, color) {
  const places = [];
  const pairs = [];
  const name = part.channels.positions;
  const first = arrays(name, 0);
  const count = Math.min(60, first.length / dimensions);
  for (let frame = 0; frame <= k; frame += 1) {
    const now = arrays(name, frame);
    for (let i = 0; i < count; i += 1) {
      if (frame) pairs.push((frame - 1) * count + i, frame * count + i);
      for (let axis = 0; axis < dimensions; axis += 1) places.push(now[i * dimensions + axis]);
    }
  }
  pen.context.globalAlpha = 0.45;
  const paint = { each: (n, draw) => draw(color, Array.from({ length: n }, (_, i) => i)), list: (n) => new Array(n).fill(color) };
  pen.lines(places, pairs, 1, paint);
  pen.context.globalAlpha = 1;
}

/** Draw lines of so many points each, with a head at their ends. */
function streams(pen, part, places, dimensions) {
  if (!places) return;
  const count = places.length / dimensions / part.lines;
  const pairs = [];
  const starts = new Float64Array(count * dimensions);
  const ways = new Float64Array(count * dimensions);
  for (let i = 0; i < count; i += 1) {
    const last = (i + 1) * part.lines - 1;
    for (let k = i * part.lines; k < last; k += 1) pairs.push(k, k + 1);
    for (let axis = 0; axis < dimensions; axis += 1) {
      starts[i * dimensions + axis] = places[(last - 2) * dimensions + axis];
      ways[i * dimensions + axis] = places[last * dimensions + axis] - starts[i * dimensions + axis];
    }
  }
  const color = part.color ? legible(part.color) : theme("ink");
  const paint = { each: (n, draw) => draw(color, Array.from({ length: n }, (_, i) => i)), list: (n) => new Array(n).fill(color) };
  pen.lines(places, pairs, 1.2, paint);
  pen.arrows(starts, ways, 1, color);
}

// ---- boxes ----

function flatBoxes(pen, part, centers, sizes, angles, paint) {
  const count = centers.length / 2;
  const colors = paint.list(count);
  const places = [];
  for (let i = 0; i < count; i += 1) {
    const [width, height] = sizeOf(sizes, i, 2);
    const angle = angles ? angles[i] : 0;
    if (part.round) {
      pen.ellipse([centers[2 * i], centers[2 * i + 1]], [width / 2, height / 2], angle, colors[i]);
      continue;
    }
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (const [u, v] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
      const [a, b] = [(u * width) / 2, (v * height) / 2];
      places.push(centers[2 * i] + a * cos - b * sin, centers[2 * i + 1] + a * sin + b * cos);
    }
  }
  if (!part.round) pen.faces(places, Array.from({ length: 4 * count }, (_, k) => k), 4, true, paint);
}

function deepBoxes(pen, part, centers, sizes, rotations, paint) {
  const count = centers.length / 3;
  const colors = paint.list(count);
  for (let i = 0; i < count; i += 1) {
    const center = [0, 1, 2].map((axis) => centers[3 * i + axis]);
    const size = sizeOf(sizes, i, 3);
    const axes = axesOf(rotations, i).map((axis, k) => axis.map((value) => (value * size[k]) / 2));
    if (part.round) {
      pen.ellipsoid(center, axes, colors[i]);
      continue;
    }
    const places = [];
    for (let bits = 0; bits < 8; bits += 1) {
      const signs = [0, 1, 2].map((axis) => ((bits >> axis) & 1 ? 1 : -1));
      for (let axis = 0; axis < 3; axis += 1) {
        places.push(center[axis] + signs[0] * axes[0][axis] + signs[1] * axes[1][axis] + signs[2] * axes[2][axis]);
      }
    }
    const corners = [0, 1, 3, 2, 4, 5, 7, 6, 0, 1, 5, 4, 2, 3, 7, 6, 0, 2, 6, 4, 1, 3, 7, 5];
    pen.faces(places, corners, 4, true, { list: (n) => new Array(n).fill(colors[i]) });
  }
}

function sizeOf(sizes, i, width) {
  const start = sizes.length > width ? width * i : 0;
  return Array.from({ length: width }, (_, axis) => sizes[start + axis]);
}

/** Return the three axes of a turned body: the columns of its rotation. */
function axesOf(rotations, i) {
  if (!rotations) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const many = rotations.width;
  const r = Array.from({ length: many }, (_, k) => rotations[many * i + k]);
  if (many === 9) return [[r[0], r[3], r[6]], [r[1], r[4], r[7]], [r[2], r[5], r[8]]];
  const size = Math.hypot(...r) || 1;
  const [w, x, y, z] = r.map((value) => value / size);
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}

// ---- grids ----

function flatGrid(pen, part, values) {
  if (!values) return;
  const { shape, origin, spacing } = part;
  if (part.level !== null && part.level !== undefined) {
    const finer = filled(values, shape, part.level, legible(part.color || usual(part.number)));
    pen.image(finer.picture, finer.origin(origin, spacing), spacing.map((d) => d / finer.by), finer.shape, true);
    return;
  }
  pen.image(pictured(values, shape, part), origin, spacing, shape, Math.min(...shape) >= SMOOTH);
  if (part.label && part.many) pen.title(part.label, origin[0] - spacing[0] / 2, origin[1] + (shape[1] - 0.5) * spacing[1]);
  if (part.contours) {
    const { places, pairs } = contours(values, shape, part, part.contours);
    const ink = { each: (n, draw) => draw(theme("ink"), Array.from({ length: n }, (_, i) => i)) };
    pen.lines(places, pairs, 0.8, ink);
  }
}

function deepGrid(pen, part, read) {
  const { shape, origin, spacing } = part;
  if (part.level !== null && part.level !== undefined) {
    const values = read("values");
    const color = legible(part.color || usual(part.number));
    if (values && part.map !== undefined && !values.some((value) => value >= part.level)) {
      for (let axis = 0; axis < 3; axis += 1) slice(pen, part, cut(values, shape, axis), axis);
    } else if (values) {
      const places = crossings(values, shape, origin, spacing, part.level);
      const size = Math.max(1, pen.length(0.75 * Math.max(...spacing)));
      pen.discs(places, () => size, { list: (n) => new Array(n).fill(color) });
    }
    return;
  }
  for (let axis = 0; axis < 3; axis += 1) {
    const values = read(`slice${axis}`);
    if (values) slice(pen, part, values, axis);
  }
}

/** Return the samples of the middle slice across an axis. */
function cut(values, shape, axis) {
  const [a, b] = [0, 1, 2].filter((other) => other !== axis);
  const found = new Float64Array(shape[a] * shape[b]);
  const at = [0, 0, 0];
  at[axis] = Math.floor(shape[axis] / 2);
  for (at[a] = 0; at[a] < shape[a]; at[a] += 1) {
    for (at[b] = 0; at[b] < shape[b]; at[b] += 1) {
      found[at[a] * shape[b] + at[b]] = values[(at[0] * shape[1] + at[1]) * shape[2] + at[2]];
    }
  }
  return found;
}

/** Draw a slice through the middle in four pieces, so that the three slices can hide each other. */
function slice(pen, part, values, axis) {
  const { shape, origin, spacing } = part;
  const [a, b] = [0, 1, 2].filter((other) => other !== axis);
  const [columns, rows] = [shape[a], shape[b]];
  const picture = pictured(values, [columns, rows], part);
  const middles = shape.map((n) => Math.floor(n / 2));
  const cuts = [[0, middles[a], columns], [0, middles[b], rows]];
  for (let u = 0; u < 2; u += 1) {
    for (let v = 0; v < 2; v += 1) {
      const [x0, x1, y0, y1] = [cuts[0][u], cuts[0][u + 1], cuts[1][v], cuts[1][v + 1]];
      if (x1 <= x0 || y1 <= y0) continue;
      const corner = [0, 0, 0];
      const across = [0, 0, 0];
      const down = [0, 0, 0];
      corner[axis] = origin[axis] + middles[axis] * spacing[axis];
      corner[a] = origin[a] + (x0 - 0.5) * spacing[a];
      corner[b] = origin[b] + (y1 - 0.5) * spacing[b];
      across[a] = (x1 - x0) * spacing[a];
      down[b] = -(y1 - y0) * spacing[b];
      pen.plane(picture, { x: x0, y: rows - y1, width: x1 - x0, height: y1 - y0 }, corner, across, down);
    }
  }
}

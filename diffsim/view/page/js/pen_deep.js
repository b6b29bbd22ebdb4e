// Draws in space: gathers what there is, then paints it from the back to the front.

import { arrow } from "./pen_flat.js";
import { css, rgb } from "./colors.js";
import { number } from "./dom.js";
import { theme } from "./theme.js";

const LIGHT = [0.35, 0.75, -0.56]; // to the right, above, away
const BINS = 4096;
const balls = new Map();

export class DeepPen {
  constructor(context, area, camera) {
    this.context = context;
    this.area = area;
    this.limits = camera.limits;
    this.up = camera.up;
    this.see = camera.fit(area);
    this.missing = 0; // things whose place is no number
    this.depths = [];
    this.owners = []; // functions that paint, one for each call
    this.owner = [];
    this.item = [];
  }

  length(value) {
    return value * this.see.scale;
  }

  /** Return where a place is in the picture, and how far away. */
  seen(a, b, c) {
    const { right, above, away, middle, scale, left, top } = this.see;
    const [x, y, z] = [a - middle[0], b - middle[1], c - middle[2]];
    return [
      left + scale * (x * right[0] + y * right[1] + z * right[2]),
      top - scale * (x * above[0] + y * above[1] + z * above[2]),
      x * away[0] + y * away[1] + z * away[2],
    ];
  }

  /** Project positions in a row. */
  project(places) {
    const count = places.length / 3;
    const found = { x: new Float64Array(count), y: new Float64Array(count), depth: new Float64Array(count) };
    for (let i = 0; i < count; i += 1) {
      const [x, y, depth] = this.seen(places[3 * i], places[3 * i + 1], places[3 * i + 2]);
      found.x[i] = x;
      found.y[i] = y;
      found.depth[i] = depth;
    }
    return found;
  }

  begin() {
    this.context.save();
    this.context.beginPath();
    this.context.rect(this.area.left, this.area.top, this.area.width, this.area.height);
    this.context.clip();
    this.box();
  }

  /** Note things to paint: which depth each has, and how the i-th is painted. */
  gather(count, depthOf, paint) {
    this.owners.push(paint);
    for (let i = 0; i < count; i += 1) {
      const depth = depthOf(i);
      if (depth !== depth) {
        this.missing += 1;
        continue;
      }
      this.depths.push(depth);
      this.owner.push(this.owners.length - 1);
      this.item.push(i);
    }
  }

  discs(places, sizeOf, paint) {
    const { x, y, depth } = this.project(places);
    const colors = paint.list(x.length);
    const { context } = this;
    this.gather(x.length, (i) => depth[i], (i) => {
      const size = sizeOf(i);
      if (size < 1.6) {
        context.fillStyle = colors[i];
        context.fillRect(x[i] - size, y[i] - size, 2 * size, 2 * size);
        return;
      }
      const ball = ballOf(colors[i], Math.ceil(size));
      context.drawImage(ball, x[i] - size, y[i] - size, 2 * size, 2 * size);
    });
  }

  lines(places, pairs, width, paint) {
    const { x, y, depth } = this.project(places);
    const colors = paint.list(pairs.length / 2);
    const { context } = this;
    this.gather(pairs.length / 2, (i) => (depth[pairs[2 * i]] + depth[pairs[2 * i + 1]]) / 2, (i) => {
      const [a, b] = [pairs[2 * i], pairs[2 * i + 1]];
      context.strokeStyle = colors[i];
      context.lineWidth = width;
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(x[a], y[a]);
      context.lineTo(x[b], y[b]);
      context.stroke();
    });
  }

  faces(places, corners, count, edges, paint) {
    const { x, y, depth } = this.project(places);
    const colors = paint.list(corners.length / count);
    const { context } = this;
    const middle = (i) => {
      let sum = 0;
      for (let k = 0; k < count; k += 1) sum += depth[corners[i * count + k]];
      return sum / count;
    };
    this.gather(corners.length / count, middle, (i) => {
      const [a, b, c] = [corners[i * count], corners[i * count + 1], corners[i * count + 2]];
      const scale = this.see.scale;
      const u = [x[b] - x[a], y[a] - y[b], (depth[b] - depth[a]) * scale];
      const v = [x[c] - x[a], y[a] - y[c], (depth[c] - depth[a]) * scale];
      const color = css(rgb(colors[i]), lit(u, v));
      context.beginPath();
      for (let k = 0; k < count; k += 1) context.lineTo(x[corners[i * count + k]], y[corners[i * count + k]]);
      context.closePath();
      context.fillStyle = color;
      context.fill();
      context.strokeStyle = edges ? theme("canvas") : color;
      context.lineWidth = edges ? 0.5 : 0.8;
      context.lineJoin = "round";
      context.stroke();
    });
  }

  /** Draw an ellipsoid, given by its three half axes as vectors. */
  ellipsoid(center, axes, color) {
    const [x, y, depth] = this.seen(...center);
    const { right, above, scale } = this.see;
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let [xx, xy, yy] = [0, 0, 0];
    for (const axis of axes) {
      const [across, upward] = [dot(axis, right) * scale, dot(axis, above) * scale];
      xx += across * across;
      xy += across * upward;
      yy += upward * upward;
    }
    const middle = (xx + yy) / 2;
    const spread = Math.hypot((xx - yy) / 2, xy);
    const [long, short] = [Math.sqrt(middle + spread), Math.sqrt(Math.max(0, middle - spread))];
    const angle = Math.atan2(2 * xy, xx - yy) / 2;
    const { context } = this;
    this.gather(1, () => depth, () => {
      context.save();
      context.translate(x, y);
      context.rotate(-angle);
      context.scale(long, short);
      context.drawImage(ballOf(color, 48), -1, -1, 2, 2);
      context.restore();
    });
  }

  /** Draw a part of an image on a parallelogram: a corner, and where the image's two sides go. */
  plane(picture, from, corner, across, down) {
    const [x, y] = this.seen(...corner);
    const [u, v] = this.seen(...corner.map((value, k) => value + across[k]));
    const [p, q] = this.seen(...corner.map((value, k) => value + down[k]));
    const depth = this.seen(...corner.map((value, k) => value + (across[k] + down[k]) / 2))[2];
    const { context } = this;
    this.gather(1, () => depth, () => {
      context.save();
      context.transform((u - x) / from.width, (v - y) / from.width, (p - x) / from.height, (q - y) / from.height, x, y);
      context.imageSmoothingEnabled = false;
      context.drawImage(picture, from.x, from.y, from.width, from.height, 0, 0, from.width, from.height);
      context.restore();
    });
  }

  arrows(starts, vectors, scale, color) {
    const ends = Float64Array.from(starts, (value, k) => value + vectors[k] * scale);
    const [from, to] = [this.project(starts), this.project(ends)];
    const { context } = this;
    this.gather(from.x.length, (i) => (from.depth[i] + to.depth[i]) / 2, (i) => {
      context.strokeStyle = color;
      context.lineWidth = 1.4;
      context.beginPath();
      arrow(context, from.x[i], from.y[i], to.x[i] - from.x[i], to.y[i] - from.y[i]);
      context.stroke();
    });
  }

  words(text, at) {
    const [x, y, depth] = this.seen(at[0], at[1], at[2] || 0);
    const { context } = this;
    this.gather(1, () => depth - 1e9, () => {
      context.fillStyle = theme("ink");
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "left";
      context.fillText(text, x, y);
    });
  }

  /** Draw the ground as a net at a height. */
  ground(height) {
    const up = this.up.findIndex((value) => Math.abs(value) > 0.9);
    if (up < 0) return;
    const [a, b] = [0, 1, 2].filter((axis) => axis !== up);
    const place = (u, v) => {
      const found = [0, 0, 0];
      found[a] = this.limits[a][0] + u * (this.limits[a][1] - this.limits[a][0]);
      found[b] = this.limits[b][0] + v * (this.limits[b][1] - this.limits[b][0]);
      found[up] = height * Math.sign(this.up[up]);
      return this.seen(...found);
    };
    const { context } = this;
    context.fillStyle = theme("earth");
    context.beginPath();
    for (const [u, v] of [[0, 0], [1, 0], [1, 1], [0, 1]]) context.lineTo(...place(u, v).slice(0, 2));
    context.fill();
    context.strokeStyle = theme("line");
    context.lineWidth = 1;
    context.beginPath();
    for (let k = 0; k <= 8; k += 1) {
      for (const [from, to] of [[place(k / 8, 0), place(k / 8, 1)], [place(0, k / 8), place(1, k / 8)]]) {
        context.moveTo(from[0], from[1]);
        context.lineTo(to[0], to[1]);
      }
    }
    context.stroke();
  }

  /** Draw the edges of what is shown of space, those at the back. */
  box() {
    const { context } = this;
    const corner = (bits) => this.seen(...this.limits.map((ends, axis) => ends[(bits >> axis) & 1]));
    const nearest = [0, 1, 2, 3, 4, 5, 6, 7].reduce((best, k) => (corner(k)[2] < corner(best)[2] ? k : best), 0);
    context.strokeStyle = theme("line");
    context.lineWidth = 1;
    context.beginPath();
    for (let k = 0; k < 8; k += 1) {
      for (let axis = 0; axis < 3; axis += 1) {
        const other = k | (1 << axis);
        if (other === k || k === nearest || other === nearest) continue;
        context.moveTo(...corner(k).slice(0, 2));
        context.lineTo(...corner(other).slice(0, 2));
      }
    }
    context.stroke();
  }

  /** Paint what was gathered, and name the axes. */
  end(unit) {
    for (const place of order(this.depths)) this.owners[this.owner[place]](this.item[place]);
    this.context.restore();
    this.names(unit);
  }

  names(unit) {
    const { context, area } = this;
    const { right, above } = this.see;
    const [x, y, size] = [area.left + 34, area.top + area.height - 30, 22];
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 1.5;
    ["x", "y", "z"].forEach((name, axis) => {
      const [dx, dy] = [right[axis] * size, -above[axis] * size];
      context.strokeStyle = theme("quiet");
      context.beginPath();
      arrow(context, x, y, dx, dy);
      context.stroke();
      context.fillStyle = theme("ink");
      context.fillText(name, x + 1.45 * dx, y + 1.45 * dy + 4);
    });
    const sizes = this.limits.map(([low, high]) => number(high - low, 3)).join(" × ");
    context.textAlign = "right";
    context.fillStyle = theme("quiet");
    context.fillText(`${sizes}${unit ? ` ${unit}` : ""}`, area.left + area.width - 4, area.top + area.height - 6);
  }
}

/** Return how light a face is: 0.55 seen along its edge from below, 1 toward the light. */
function lit(u, v) {
  const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
  const size = Math.hypot(...normal);
  const shine = size ? Math.abs(normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2]) / size : 1;
  return 0.55 + 0.45 * Math.min(1, shine);
}

/** Return places in the order of falling depth: sorted into bins, which costs one pass. */
function order(depths) {
  let [low, high] = [Infinity, -Infinity];
  for (const depth of depths) {
    if (depth > high) high = depth;
    if (depth < low && depth > -1e8) low = depth;
  }
  const scale = high > low ? (BINS - 1) / (high - low) : 0;
  const bins = Int32Array.from(depths, (depth) => Math.max(0, Math.min(BINS - 1, Math.round((high - depth) * scale))));
  const starts = new Int32Array(BINS + 1);
  for (const bin of bins) starts[bin + 1] += 1;
  for (let k = 0; k < BINS; k += 1) starts[k + 1] += starts[k];
  const found = new Int32Array(depths.length);
  bins.forEach((bin, place) => {
    found[starts[bin]] = place;
    starts[bin] += 1;
  });
  return found;
}

/** Return the picture of a ball, painted once for each colour and size. */
function ballOf(color, size) {
  const key = `${color} ${size}`;
  let ball = balls.get(key);
  if (!ball) {
    const side = 4 * size; // twice as fine as it is on most screens
    ball = document.createElement("canvas");
    ball.width = side;
    ball.height = side;
    const context = ball.getContext("2d");
    const shades = context.createRadialGradient(0.36 * side, 0.34 * side, 0, side / 2, side / 2, side / 2);
    const base = rgb(color);
    shades.addColorStop(0, css(base.map((value) => value + 0.45 * (255 - value))));
    shades.addColorStop(0.55, css(base));
    shades.addColorStop(1, css(base, 0.6));
    context.fillStyle = shades;
    context.beginPath();
    context.arc(side / 2, side / 2, side / 2, 0, 2 * Math.PI);
    context.fill();
    if (balls.size > 800) balls.clear();
    balls.set(key, ball);
  }
  return ball;
}

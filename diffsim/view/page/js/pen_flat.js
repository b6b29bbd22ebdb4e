// Draws in the plane, at once and in the order of the parts.

import { theme } from "./theme.js";
import { ticks } from "./ticks.js";
import { number } from "./dom.js";

export class FlatPen {
  constructor(context, area, camera) {
    this.context = context;
    this.area = area;
    this.see = camera.fit(area);
    this.missing = 0; // things whose place is no number
  }

  x(value) {
    return this.see.left + value * this.see.scale;
  }

  y(value) {
    return this.see.top - value * this.see.scale;
  }

  /** How many pixels a length is. */
  length(value) {
    return value * this.see.scale;
  }

  begin() {
    const { left, top, width, height } = this.area;
    this.context.save();
    this.context.beginPath();
    this.context.rect(left, top, width, height);
    this.context.clip();
  }

  ground(height) {
    const { left, width } = this.area;
    const top = this.y(height);
    this.context.fillStyle = theme("earth");
    this.context.fillRect(left, top, width, Math.max(0, this.area.top + this.area.height - top));
    this.context.fillStyle = theme("quiet");
    this.context.fillRect(left, top, width, 1);
  }

  /** Draw discs: positions in a row, how large each is in pixels, and the colour of each. */
  discs(places, sizeOf, paint) {
    const { context } = this;
    paint.each(places.length / 2, (color, chosen) => {
      context.fillStyle = color;
      context.beginPath();
      for (const i of chosen) {
        const x = this.x(places[2 * i]);
        const y = this.y(places[2 * i + 1]);
        if (!(x === x && y === y)) {
          this.missing += 1;
          continue;
        }
        const size = sizeOf(i);
        if (size < 0.8) context.rect(x - size, y - size, 2 * size, 2 * size);
        else {
          context.moveTo(x + size, y);
          context.arc(x, y, size, 0, 2 * Math.PI);
        }
      }
      context.fill();
    });
  }

  lines(places, pairs, width, paint) {
    const { context } = this;
    context.lineWidth = width;
    context.lineCap = "round";
    paint.each(pairs.length / 2, (color, chosen) => {
      context.strokeStyle = color;
      context.beginPath();
      for (const i of chosen) {
        const [a, b] = [2 * pairs[2 * i], 2 * pairs[2 * i + 1]];
        const [x, y, u, v] = [this.x(places[a]), this.y(places[a + 1]), this.x(places[b]), this.y(places[b + 1])];
        if (x + y + u + v !== x + y + u + v) {
          this.missing += 1;
          continue;
        }
        context.moveTo(x, y);
        context.lineTo(u, v);
      }
      context.stroke();
    });
  }

  /** Fill polygons of so many corners each. */
  faces(places, corners, count, edges, paint) {
    const { context } = this;
    context.lineJoin = "round";
    paint.each(corners.length / count, (color, chosen) => {
      context.fillStyle = color;
      context.strokeStyle = edges ? theme("ink") : color;
      context.lineWidth = edges ? 0.6 : 0.7;
      context.beginPath();
      for (const i of chosen) this.outline(places, corners, i * count, count);
      context.fill();
      context.stroke();
    });
  }

  outline(places, corners, start, count) {
    for (let k = 0; k < count; k += 1) {
      const a = 2 * corners[start + k];
      const [x, y] = [this.x(places[a]), this.y(places[a + 1])];
      if (x + y !== x + y) {
        this.missing += 1;
        return;
      }
      if (k) this.context.lineTo(x, y);
      else this.context.moveTo(x, y);
    }
    this.context.closePath();
  }

  ellipse(center, axes, angle, color) {
    const { context } = this;
    context.fillStyle = color;
    context.beginPath();
    context.ellipse(this.x(center[0]), this.y(center[1]), this.length(axes[0]), this.length(axes[1]), -angle, 0, 2 * Math.PI);
    context.fill();
  }

  /** Draw an image whose pixels are the samples of a grid, the first axis to the right. */
  image(picture, origin, spacing, shape, smooth) {
    const { context } = this;
    const left = this.x(origin[0] - spacing[0] / 2);
    const top = this.y(origin[1] + (shape[1] - 0.5) * spacing[1]);
    context.imageSmoothingEnabled = smooth;
    context.drawImage(picture, left, top, this.length(spacing[0] * shape[0]), this.length(spacing[1] * shape[1]));
  }

  arrows(starts, vectors, scale, color) {
    const { context } = this;
    context.strokeStyle = color;
    context.lineWidth = 1.4;
    context.lineCap = "round";
    context.beginPath();
    for (let i = 0; i < starts.length; i += 2) {
      const [x, y] = [this.x(starts[i]), this.y(starts[i + 1])];
      arrow(context, x, y, this.length(vectors[i] * scale), -this.length(vectors[i + 1] * scale));
    }
    context.stroke();
  }

  words(text, at) {
    this.context.fillStyle = theme("ink");
    this.context.font = "12px system-ui, sans-serif";
    this.context.textAlign = "left";
    this.context.fillText(text, this.x(at[0]), this.y(at[1]));
  }

  /** Write what a map shows over its upper edge. */
  title(text, x, y) {
    this.context.fillStyle = theme("ink");
    this.context.font = "11px system-ui, sans-serif";
    this.context.textAlign = "left";
    this.context.fillText(text, this.x(x), this.y(y) - 3);
  }

  /** Draw the axes around what was drawn, with their unit. */
  end(unit) {
    const { context, area } = this;
    context.restore();
    context.strokeStyle = theme("line");
    context.lineWidth = 1;
    context.strokeRect(area.left + 0.5, area.top + 0.5, area.width - 1, area.height - 1);
    context.fillStyle = theme("quiet");
    context.font = "11px system-ui, sans-serif";
    const { left, top, scale } = this.see;
    context.textAlign = "center";
    const across = ticks((area.left - left) / scale, (area.left + area.width - left) / scale, area.width / 60);
    across.forEach((value, k) => {
      const text = number(value) + (k === across.length - 1 && unit ? ` ${unit}` : "");
      const half = context.measureText(text).width / 2;
      const x = Math.max(area.left + half, Math.min(area.left + area.width - half, this.x(value)));
      context.fillRect(Math.round(this.x(value)), area.top + area.height, 1, 4);
      context.fillText(text, x, area.top + area.height + 15);
    });
    context.textAlign = "right";
    for (const value of ticks((top - area.top - area.height) / scale, (top - area.top) / scale, area.height / 40)) {
      context.fillRect(area.left - 4, Math.round(this.y(value)), 4, 1);
      context.fillText(number(value), area.left - 6, Math.max(area.top + 9, this.y(value) + 4));
    }
  }
}

/** Add an arrow to the path: none where it is shorter than a pixel. */
export function arrow(context, x, y, dx, dy) {
  const size = Math.hypot(dx, dy);
  if (!(size > 1)) return;
  const head = Math.min(7, 0.45 * size) / size;
  context.moveTo(x, y);
  context.lineTo(x + dx, y + dy);
  for (const side of [0.5, -0.5]) {
    context.moveTo(x + dx, y + dy);
    context.lineTo(x + dx - head * (dx - side * dy), y + dy - head * (dy + side * dx));
  }
}

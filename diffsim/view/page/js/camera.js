// From where space is looked at; all views of a stage share one camera, so that they move together.

/** What both cameras have: zoom and shift, in shares of the view, and who wants to know of changes. */
class Camera {
  constructor() {
    this.listeners = [];
    this.reset();
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  reset() {
    this.zoom = 1;
    this.shift = [0, 0];
    this.changed();
  }

  /** Look from where another camera looks. */
  follow(other) {
    for (const key of ["zoom", "shift", "yaw", "pitch"]) if (other[key] !== undefined) this[key] = other[key];
    this.changed();
  }

  /** Zoom about a place, given from the middle of the view in shares of its size. */
  scaleBy(factor, x = 0, y = 0) {
    const zoom = Math.max(0.2, Math.min(50, this.zoom * factor));
    const by = zoom / this.zoom;
    this.shift = [x + (this.shift[0] - x) * by, y + (this.shift[1] - y) * by];
    this.zoom = zoom;
    this.changed();
  }

  moveBy(dx, dy) {
    this.shift = [this.shift[0] + dx, this.shift[1] + dy];
    this.changed();
  }
}

/** Looks at the plane. */
export class FlatCamera extends Camera {
  constructor(limits) {
    super();
    this.limits = limits;
  }

  get aspect() {
    const [[left, right], [bottom, top]] = this.limits;
    return (top - bottom) / (right - left);
  }

  /** Return how to get from space to pixels: x * scale + left, top - y * scale. */
  fit(area) {
    const [[x0, x1], [y0, y1]] = this.limits;
    const scale = Math.min(area.width / (x1 - x0), area.height / (y1 - y0)) * this.zoom;
    const middleX = area.left + area.width * (0.5 + this.shift[0]);
    const middleY = area.top + area.height * (0.5 + this.shift[1]);
    return { scale, left: middleX - (scale * (x0 + x1)) / 2, top: middleY + (scale * (y0 + y1)) / 2 };
  }

  drag(dx, dy) {
    this.moveBy(dx, dy);
  }
}

/** Goes around space, without perspective, so that equal lengths look equal. */
export class OrbitCamera extends Camera {
  constructor(limits, told) {
    super();
    this.limits = limits;
    this.up = unit(told.up);
    this.side = unit(cross(this.up, Math.abs(this.up[0]) < 0.9 ? [1, 0, 0] : [0, 0, 1]));
    this.front = cross(this.side, this.up);
    const toward = unit(told.toward);
    this.home = [ // yaw and pitch
      Math.atan2(dot(toward, this.side), dot(toward, this.front)),
      Math.asin(Math.max(-1, Math.min(1, dot(toward, this.up)))),
    ];
    this.reset();
  }

  get aspect() {
    this.fit({ left: 0, top: 0, width: 1, height: 1 });
    return Math.max(0.45, Math.min(0.9, this.reach[1] / this.reach[0]));
  }

  reset() {
    if (this.home) [this.yaw, this.pitch] = this.home;
    super.reset();
  }

  /** Turn: shares of the view become parts of a turn. */
  drag(dx, dy) {
    this.yaw += dx * 4;
    this.pitch = Math.max(-1.55, Math.min(1.55, this.pitch - dy * 3));
    this.changed();
  }

  /** Return the scale at which all of space is seen from where the camera was at first. */
  whole(area, right, above) {
    if (!this.reach) {
      const half = this.limits.map(([low, high]) => (high - low) / 2);
      this.reach = [right, above].map((axis) => 2 * half.reduce((sum, size, k) => sum + Math.abs(axis[k]) * size, 0) || 1);
    }
    return 0.94 * Math.min(area.width / this.reach[0], area.height / this.reach[1]);
  }

  /** Return the directions right, up and away in the picture, the middle of space, and the scale. */
  fit(area) {
    const flat = add(scaled(this.side, Math.sin(this.yaw)), scaled(this.front, Math.cos(this.yaw)));
    const away = add(scaled(flat, Math.cos(this.pitch)), scaled(this.up, Math.sin(this.pitch)));
    const right = unit(cross(flat, this.up));
    const above = cross(right, away);
    const middle = this.limits.map(([low, high]) => (low + high) / 2);
    return {
      right,
      above,
      away,
      middle,
      scale: this.whole(area, right, above) * this.zoom,
      left: area.left + area.width * (0.5 + this.shift[0]),
      top: area.top + area.height * (0.5 + this.shift[1]),
    };
  }
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const scaled = (a, factor) => a.map((value) => value * factor);
const add = (a, b) => a.map((value, k) => value + b[k]);
const unit = (a) => scaled(a, 1 / (Math.hypot(...a) || 1));

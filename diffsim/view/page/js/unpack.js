// Arrays that Python packed: codes in base64, with the step between codes and the lowest number.

const KINDS = {
  u8: [1, (view, k) => view.getUint8(k)],
  u16: [2, (view, k) => view.getUint16(k, true)],
  u32: [4, (view, k) => view.getUint32(k, true)],
  f32: [4, (view, k) => view.getFloat32(k, true)],
  f64: [8, (view, k) => view.getFloat64(k, true)],
};

/** An array whose first axis is time; frame(k) gives one frame as numbers, NaN where there is none. */
export class Packed {
  constructor(told) {
    this.shape = told.shape;
    this.frames = told.shape[0];
    this.size = told.shape.slice(1).reduce((product, n) => product * n, 1);
    this.width = told.shape[told.shape.length - 1];
    this.step = told.step;
    this.low = told.low;
    this.codes = decoded(told);
    this.missing = told.step === undefined ? -1 : told.type === "u8" ? 255 : 65535;
    this.last = { k: -1, values: null };
  }

  frame(k) {
    if (this.last.k === k) return this.last.values;
    const start = k * this.size;
    const values = new Float64Array(this.size);
    for (let i = 0; i < this.size; i += 1) {
      const code = this.codes[start + i];
      if (this.step === undefined) values[i] = code;
      else values[i] = code === this.missing ? NaN : this.low + code * this.step;
    }
    values.width = this.width;
    this.last = { k, values };
    return values;
  }

  /** Return all numbers of the element i over time. */
  over(i) {
    const values = new Float64Array(this.frames);
    for (let k = 0; k < this.frames; k += 1) values[k] = this.value(k * this.size + i);
    return values;
  }

  value(place) {
    const code = this.codes[place];
    if (this.step === undefined) return code;
    return code === this.missing ? NaN : this.low + code * this.step;
  }
}

/** Return all numbers of a packed array in a row. */
export function numbers(told) {
  const codes = decoded(told);
  if (told.step === undefined) return codes;
  const missing = told.type === "u8" ? 255 : 65535;
  return Float64Array.from(codes, (code) => (code === missing ? NaN : told.low + code * told.step));
}

function decoded(told) {
  const text = atob(told.data);
  const raw = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k += 1) raw[k] = text.charCodeAt(k);
  const [width, read] = KINDS[told.type];
  const view = new DataView(raw.buffer);
  const found = told.type[0] === "u" ? new Uint32Array(raw.length / width) : new Float64Array(raw.length / width);
  for (let k = 0; k < found.length; k += 1) found[k] = read(view, k * width);
  return found;
}

// QR codes (ISO/IEC 18004), byte mode: qrCode(text) gives rows of modules, true for dark ones, or
// null for text that fits into no code.
"use strict";

const qrCode = (() => {
  // Error correction level M, and L for what does not fit there: the bits that stand for the
  // level, check bytes per block and blocks, for versions 1 to 40.
  const LEVELS = [
    {
      bits: 0,
      check: [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26,
        ...Array(19).fill(28)],
      blocks: [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20,
        21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49],
    },
    {
      bits: 1,
      check: [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28,
        28, 30, 30, 26, 28, ...Array(14).fill(30)],
      blocks: [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12, 12,
        12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25],
    },
  ];

  const MASKS = [
    (x, y) => (x + y) % 2,
    (x, y) => y % 2,
    (x, y) => x % 3,
    (x, y) => (x + y) % 3,
    (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
    (x, y) => ((x * y) % 2) + ((x * y) % 3),
    (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
    (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
  ];

  // The field of 256 elements with x^8 + x^4 + x^3 + x^2 + 1.
  const EXP = [];
  const LOG = [];
  for (let i = 0, value = 1; i < 255; i++) {
    EXP[i] = value;
    LOG[value] = i;
    value = (value << 1) ^ (value > 127 ? 0x11d : 0);
  }
  const times = (a, b) => (a && b ? EXP[(LOG[a] + LOG[b]) % 255] : 0);

  // Check bytes of a block: the remainder by the product of (x - 2^i).
  function checkBytes(data, count) {
    let divisor = [1];
    for (let i = 0; i < count; i++) {
      const shifted = [...divisor, 0];
      divisor.forEach((factor, at) => (shifted[at + 1] ^= times(factor, EXP[i])));
      divisor = shifted;
    }
    const rest = [...data, ...Array(count).fill(0)];
    data.forEach((_, at) => {
      const lead = rest[at];
      divisor.forEach((factor, i) => (rest[at + i] ^= times(factor, lead)));
    });
    return rest.slice(data.length);
  }

  // Modules that hold neither patterns nor format and version information.
  function dataModules(version) {
    const aligned = version < 2 ? 0 : Math.floor(version / 7) + 2;
    const alignment = aligned ? (25 * aligned - 10) * aligned - 55 : 0;
    const room = (16 * version + 128) * version + 64;
    return room - alignment - (version < 7 ? 0 : 36);
  }

  function choose(length) {
    for (const level of LEVELS) {
      for (let version = 1; version <= 40; version++) {
        const bytes = dataModules(version) >> 3;
        const blocks = level.blocks[version - 1];
        const check = level.check[version - 1];
        const room = bytes - blocks * check;
        const counter = version < 10 ? 8 : 16;
        if (4 + counter + 8 * length <= 8 * room) {
          return { version, level, bytes, blocks, check, room, counter };
        }
      }
    }
    return null;
  }

  function encode(text, plan) {
    const bits = [];
    const push = (value, length) => {
      while (length-- > 0) bits.push((value >> length) & 1);
    };
    push(4, 4);
    push(text.length, plan.counter);
    text.forEach((byte) => push(byte, 8));
    push(0, Math.min(4, 8 * plan.room - bits.length));
    push(0, (8 - (bits.length % 8)) % 8);
    for (let pad = 0xec; bits.length < 8 * plan.room; pad ^= 0xfd) push(pad, 8);
    const bytes = [];
    for (let i = 0; i < bits.length; i += 8) {
      bytes.push(bits.slice(i, i + 8).reduce((byte, bit) => (byte << 1) | bit, 0));
    }
    return bytes;
  }

  // Divides into blocks, of which the last may be one byte longer, and interleaves them.
  function interleave(bytes, plan) {
    const short = Math.floor(plan.room / plan.blocks);
    const shortBlocks = plan.blocks - (plan.room % plan.blocks);
    const blocks = [];
    for (let i = 0, at = 0; i < plan.blocks; i++) {
      const length = short + (i < shortBlocks ? 0 : 1);
      const data = bytes.slice(at, at + length);
      blocks.push({ data, check: checkBytes(data, plan.check) });
      at += length;
    }
    const result = [];
    for (let i = 0; i <= short; i++) {
      for (const { data } of blocks) if (i < data.length) result.push(data[i]);
    }
    for (let i = 0; i < plan.check; i++) {
      for (const { check } of blocks) result.push(check[i]);
    }
    return result;
  }

  function alignmentCentres(version, size) {
    if (version === 1) return [];
    const count = Math.floor(version / 7) + 2;
    const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
    const centres = [6];
    for (let at = size - 7; centres.length < count; at -= step) centres.splice(1, 0, at);
    return centres;
  }

  // The code of `value` with the remainder by `divisor` behind it.
  function withRemainder(value, length, divisor) {
    let rest = value;
    for (let i = 0; i < length; i++) rest = (rest << 1) ^ ((rest >> (length - 1)) * divisor);
    return (value << length) | rest;
  }

  class Matrix {
    constructor(version, level) {
      this.version = version;
      this.level = level;
      this.size = 17 + 4 * version;
      const grid = () => Array.from({ length: this.size }, () => Array(this.size).fill(false));
      this.dark = grid();
      this.fixed = grid();
      this.patterns();
    }

    set(x, y, dark) {
      if (x >= 0 && y >= 0 && x < this.size && y < this.size) {
        this.dark[y][x] = Boolean(dark);
        this.fixed[y][x] = true;
      }
    }

    // Concentric squares around (cx, cy); `light` says which distances are light.
    square(cx, cy, radius, light) {
      for (let y = -radius; y <= radius; y++) {
        for (let x = -radius; x <= radius; x++) {
          this.set(cx + x, cy + y, !light.includes(Math.max(Math.abs(x), Math.abs(y))));
        }
      }
    }

    patterns() {
      const far = this.size - 4;
      for (let i = 0; i < this.size; i++) {
        this.set(6, i, i % 2 === 0);
        this.set(i, 6, i % 2 === 0);
      }
      for (const [x, y] of [[3, 3], [far, 3], [3, far]]) this.square(x, y, 4, [2, 4]);
      const centres = alignmentCentres(this.version, this.size);
      const last = centres.length - 1;
      centres.forEach((x, i) => centres.forEach((y, j) => {
        const corner = (i === 0 && (j === 0 || j === last)) || (i === last && j === 0);
        if (!corner) this.square(x, y, 2, [1]);
      }));
      this.format(0);
      if (this.version < 7) return;
      const bits = withRemainder(this.version, 12, 0x1f25);
      for (let i = 0; i < 18; i++) {
        const a = this.size - 11 + (i % 3);
        const b = Math.floor(i / 3);
        this.set(a, b, (bits >> i) & 1);
        this.set(b, a, (bits >> i) & 1);
      }
    }

    // Level and mask, in two places.
    format(mask) {
      const bits = withRemainder((this.level.bits << 3) | mask, 10, 0x537) ^ 0x5412;
      const bit = (i) => (bits >> i) & 1;
      for (let i = 0; i < 15; i++) {
        const beside = i < 6 ? i : i < 8 ? i + 1 : this.size - 15 + i;
        const along = i < 8 ? this.size - 1 - i : i === 8 ? 7 : 14 - i;
        this.set(8, beside, bit(i));
        this.set(along, 8, bit(i));
      }
      this.set(8, this.size - 8, true);
    }

    // Two columns at a time from the right, up and down by turns, without column 6.
    fill(bytes) {
      let at = 0;
      for (let right = this.size - 1; right > 0; right -= 2) {
        if (right === 6) right = 5;
        const up = ((right + 1) & 2) === 0;
        for (let i = 0; i < this.size; i++) {
          const y = up ? this.size - 1 - i : i;
          for (const x of [right, right - 1]) {
            if (!this.fixed[y][x] && at < bytes.length * 8) {
              this.dark[y][x] = ((bytes[at >> 3] >> (7 - (at & 7))) & 1) === 1;
              at++;
            }
          }
        }
      }
    }

    // Inverts what the mask covers; twice is not at all.
    mask(number) {
      const covers = MASKS[number];
      for (let y = 0; y < this.size; y++) {
        for (let x = 0; x < this.size; x++) {
          if (!this.fixed[y][x] && covers(x, y) === 0) this.dark[y][x] = !this.dark[y][x];
        }
      }
    }

    // How hard the code is to read.
    penalty() {
      const { size, dark } = this;
      const columns = dark.map((_, x) => dark.map((row) => row[x]));
      let total = 0;
      let count = 0;
      for (const line of [...dark, ...columns]) {
        const text = line.map(Number).join("");
        for (const run of text.match(/0+|1+/g)) if (run.length > 4) total += run.length - 2;
        const framed = `0000${text}0000`;
        for (let i = 0; i + 11 <= framed.length; i++) {
          const part = framed.slice(i, i + 11);
          if (part === "10111010000" || part === "00001011101") total += 40;
        }
      }
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const module = dark[y][x];
          count += module ? 1 : 0;
          if (y && x && module === dark[y - 1][x] && module === dark[y][x - 1]
            && module === dark[y - 1][x - 1]) total += 3;
        }
      }
      const uneven = Math.abs(20 * count - 10 * size * size);
      return total + 10 * Math.max(0, Math.ceil(uneven / (size * size)) - 1);
    }
  }

  return (text) => {
    const bytes = [...new TextEncoder().encode(text)];
    const plan = choose(bytes.length);
    if (!plan) return null;
    const matrix = new Matrix(plan.version, plan.level);
    matrix.fill(interleave(encode(bytes, plan), plan));
    let best = null;
    for (let number = 0; number < MASKS.length; number++) {
      matrix.mask(number);
      matrix.format(number);
      const penalty = matrix.penalty();
      if (!best || penalty < best.penalty) best = { number, penalty };
      matrix.mask(number);
    }
    matrix.mask(best.number);
    matrix.format(best.number);
    return matrix.dark;
  };
})();

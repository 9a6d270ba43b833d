// The seeded generator behind every shuffle, split, sample and bootstrap. Knows nothing of what is drawn.
//
// Algorithm: xoshiro128** 1.1 (Blackman and Vigna 2018): four 32-bit words of state, period 2^128 - 1. The state is the
// first two outputs of splitmix64 started at mix(seed) XOR stream, low half first, where mix is one splitmix64 output.
// So (seed, stream) names one sequence for good, the same on every machine; tests/golden/golden_statistics.py has its twin.
import { unexpected } from "./errors.js";

const MASK_64 = (1n << 64n) - 1n;

/**
 * A sequence of random numbers named by a seed and a stream. Streams of one seed are independent of each other: a caller
 * that needs one sequence per epoch takes the epoch as its stream.
 *
 * @example
 * ```ts
 * const order = new Random(42, epoch).shuffle([...rows.keys()]);
 * ```
 */
export class Random {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  /** @param seed - and @param stream - whole numbers from 0 to 2^53 - 1. */
  constructor(seed: number, stream = 0) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw unexpected("a whole number from 0 to 2^53 - 1", "seed", seed);
    if (!Number.isSafeInteger(stream) || stream < 0) {
      throw unexpected("a whole number from 0 to 2^53 - 1", "stream", stream);
    }
    const start = splitmix64(BigInt(seed), 1n) ^ BigInt(stream);
    const [first, second] = [splitmix64(start, 1n), splitmix64(start, 2n)];
    this.state = [first, first >> 32n, second, second >> 32n].map((word) => Number(word & 0xffffffffn));
  }

  /** The four words of state, for a checkpoint. Setting them continues the sequence where they were read. */
  get state(): number[] {
    return [this.#a, this.#b, this.#c, this.#d].map((word) => word >>> 0);
  }

  set state(words: readonly number[]) {
    const whole = words.length === 4 && words.every((word) => Number.isInteger(word) && word >= 0 && word < 2 ** 32);
    if (!whole || words.every((word) => word === 0)) {
      throw unexpected("four 32-bit words, not all of them 0", "the state of a random sequence", words);
    }
    [this.#a, this.#b, this.#c, this.#d] = words.map((word) => word | 0) as [number, number, number, number];
  }

  /** 32 random bits, 0 to 2^32 - 1. */
  bits(): number {
    const five = Math.imul(this.#b, 5);
    const result = Math.imul((five << 7) | (five >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  /** A number in [0, 1), every multiple of 2^-53 equally likely. Takes two draws, the high bits first. */
  float(): number {
    const high = this.bits() >>> 5;
    return (high * 2 ** 26 + (this.bits() >>> 6)) * 2 ** -53;
  }

  /**
   * A whole number from 0 to n - 1, each exactly equally likely: draws above the last whole multiple of n are thrown away.
   *
   * @param n - 1 to 2^32
   */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) throw unexpected("a whole number from 1 to 2^32", "n", n);
    // As an unsigned word, for which the remainder is a third of a float's time; 0 stands for 2^32, of which every draw is a number below.
    const size = n >>> 0;
    if (size === 0) return this.bits();
    for (;;) {
      const draw = this.bits();
      const rest = draw % size;
      // The multiple of n that it lies above has n numbers below 2^32.
      if (draw - rest <= 2 ** 32 - n) return rest;
    }
  }

  /** Shuffles in place (Fisher and Yates, from the end) and returns the same array. */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let last = items.length - 1; last > 0; last--) {
      const chosen = this.below(last + 1);
      const held = items[last];
      items[last] = items[chosen];
      items[chosen] = held;
    }
    return items;
  }
}

/** The nth output (from 1) of splitmix64 (Steele, Lea and Flood 2014) started at state. */
function splitmix64(state: bigint, n: bigint): bigint {
  let z = (state + n * 0x9e3779b97f4a7c15n) & MASK_64;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK_64;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK_64;
  return z ^ (z >> 31n);
}

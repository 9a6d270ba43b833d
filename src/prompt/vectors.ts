// Texts as points: which lie nearest to one, and which few stand for all. Knows no model and no row.
import { Random } from "../support/random.js";

/** Most rounds of k-means; it has come to rest long before. */
const rounds = 50;

/**
 * Vectors about their common centre, each of length 1. The states of decoders all point one way: only what is left of two of them without it says how alike
 * two texts are.
 */
export class Space {
  readonly #centre: Float64Array;
  readonly #points: Float64Array[];

  /** @param vectors - at least one, all of one width */
  constructor(vectors: readonly Float32Array[]) {
    this.#centre = meanOf(vectors);
    this.#points = vectors.map((vector) => this.#place(vector));
  }

  /** Indices of the k nearest points by cosine, the nearest first; of equal ones the first given. skip: of indices that are left out. */
  nearest(vector: Float32Array, k: number, skip: (index: number) => boolean = () => false): number[] {
    const asked = this.#place(vector);
    const found = [...this.#points.keys()].filter((index) => !skip(index));
    const near = this.#points.map((point) => dot(point, asked));
    return found.sort((a, b) => near[b]! - near[a]! || a - b).slice(0, k);
  }

  /**
   * Indices of k of the points that stand for all of them: each is the nearest to the middle of one of k clusters (k-means, begun by k-means++: Arthur and
   * Vassilvitskii 2007). In the order of their indices; fewer where there are no more.
   */
  spread(k: number, seed: number, among: readonly number[] = [...this.#points.keys()]): number[] {
    if (among.length <= k) return [...among];
    const points = among.map((index) => this.#points[index]!);
    let centres = firstCentres(points, k, new Random(seed));
    let owner = points.map((point) => closest(centres, point));
    for (let round = 0; round < rounds; round++) {
      centres = centres.map((centre, cluster) => {
        const own = points.filter((_, index) => owner[index] === cluster);
        return own.length > 0 ? meanOf(own) : centre;
      });
      const next = points.map((point) => closest(centres, point));
      if (next.every((cluster, index) => cluster === owner[index])) break;
      owner = next;
    }
    const chosen = new Set<number>();
    for (const centre of centres) {
      const free = [...points.keys()].filter((index) => !chosen.has(index));
      chosen.add(
        free[
          closest(
            free.map((index) => points[index]!),
            centre,
          )
        ]!,
      );
    }
    return [...chosen].sort((a, b) => a - b).map((index) => among[index]!);
  }

  #place(vector: Float32Array): Float64Array {
    const moved = Float64Array.from(vector, (value, place) => value - this.#centre[place]!);
    const length = Math.sqrt(dot(moved, moved));
    return length > 0 ? moved.map((value) => value / length) : moved;
  }
}

/** The first at random, each further one with a probability that grows with the square of its distance to those before it. */
function firstCentres(points: readonly Float64Array[], k: number, random: Random): Float64Array[] {
  const centres = [points[random.below(points.length)]!];
  const away = points.map((point) => distance(point, centres[0]!));
  while (centres.length < k) {
    const total = away.reduce((sum, value) => sum + value, 0);
    let left = random.float() * total;
    let chosen = away.findIndex((value) => {
      left -= value;
      return value > 0 && left < 0;
    });
    // Where all that are left lie on centres, any will do.
    if (chosen < 0) chosen = random.below(points.length);
    centres.push(points[chosen]!);
    for (const [index, point] of points.entries())
      away[index] = Math.min(away[index]!, distance(point, points[chosen]!));
  }
  return centres;
}

/** The index of the first of the nearest. */
function closest(centres: readonly Float64Array[], point: Float64Array): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const [index, centre] of centres.entries()) {
    const away = distance(centre, point);
    if (away < least) [best, least] = [index, away];
  }
  return best;
}

function meanOf(vectors: readonly (Float32Array | Float64Array)[]): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  for (const vector of vectors) for (let place = 0; place < sum.length; place++) sum[place]! += vector[place]!;
  return sum.map((value) => value / vectors.length);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let place = 0; place < a.length; place++) sum += a[place]! * b[place]!;
  return sum;
}

function distance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let place = 0; place < a.length; place++) sum += (a[place]! - b[place]!) ** 2;
  return sum;
}

// Rows that say nearly the same: exact copies after normalisation, and MinHash with exact Jaccard of word shingles behind it. Knows texts and
// answers; no file, no model.

/** A text of the rows. */
export interface TextRow {
  text: string;
  answer: string;
  split: string;
  line: number;
}

/** What stands in the rows more than once. */
export interface Duplicates {
  /** Rows whose text, in lower case and without punctuation, stands before in the same rows. */
  exact: number;
  /** Rows that share at least four fifths of their shingles (runs of three words) with an earlier row, exact ones not counted. */
  near: number;
  /** Of both, rows whose earlier twin has another answer: a number farther away than the audit's tolerance, or another text. */
  contradicting: number;
  /** Of both, rows whose earlier twin is in another split. */
  across_splits: number;
  /** The first of them. */
  examples: {
    split: string;
    line: number;
    of: { split: string; line: number };
    similarity: number;
    same_answer: boolean;
  }[];
}

const hashes = 64;
/** Hashes of a band: two texts meet where one band is equal, at a Jaccard of 0.8 with probability 0.9998 (1 - (1 - 0.8^4)^16). */
const band = 4;
const least = 0.8;
const examplesShown = 20;

/** Whether two answers are the same. */
type Same = (one: string, other: string) => boolean;

/** Looks for copies among rows, in their order. */
export function findCopies(rows: readonly TextRow[], sameAnswer: Same = (one, other) => one === other): Duplicates {
  const found: Duplicates = { exact: 0, near: 0, contradicting: 0, across_splits: 0, examples: [] };
  const firstOf = new Map<string, number>();
  const buckets = new Map<string, number[]>();
  const shingles: Uint32Array[] = [];
  for (const [place, row] of rows.entries()) {
    const words = row.text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
    const normal = words.join(" ");
    const same = firstOf.get(normal);
    if (same !== undefined) {
      found.exact += 1;
      note(found, row, { of: rows[same]!, similarity: 1 }, sameAnswer);
      continue;
    }
    firstOf.set(normal, place);
    const own = shinglesOf(words);
    shingles[place] = own;
    // Shorter texts share all or nothing.
    if (own.length < 2) continue;
    const keys = bandsOf(own);
    const near = nearest(own, new Set(keys.flatMap((key) => buckets.get(key) ?? [])), shingles);
    if (near) {
      found.near += 1;
      note(found, row, { of: rows[near.place]!, similarity: near.similarity }, sameAnswer);
    }
    for (const key of keys) {
      const bucket = buckets.get(key);
      if (bucket) bucket.push(place);
      else buckets.set(key, [place]);
    }
  }
  return found;
}

function note(
  found: Duplicates,
  row: TextRow,
  { of, similarity }: { of: TextRow; similarity: number },
  sameAnswer: Same,
): void {
  const same = sameAnswer(row.answer, of.answer);
  if (!same) found.contradicting += 1;
  if (row.split !== of.split) found.across_splits += 1;
  if (found.examples.length >= examplesShown) return;
  const { split, line } = row;
  found.examples.push({ split, line, of: { split: of.split, line: of.line }, similarity, same_answer: same });
}

function nearest(own: Uint32Array, candidates: ReadonlySet<number>, shingles: readonly Uint32Array[]) {
  let best: { place: number; similarity: number } | null = null;
  for (const place of candidates) {
    const similarity = jaccard(own, shingles[place]!);
    if (similarity >= least && similarity > (best?.similarity ?? 0)) best = { place, similarity };
  }
  return best;
}

/** Hashes of the runs of three words, ascending, each once. */
function shinglesOf(words: readonly string[]): Uint32Array {
  const runs = new Set<number>();
  for (let at = 0; at + 3 <= words.length; at++) runs.add(hashOf(`${words[at]} ${words[at + 1]} ${words[at + 2]}`));
  return Uint32Array.from(runs).sort();
}

function jaccard(one: Uint32Array, other: Uint32Array): number {
  let [common, at] = [0, 0];
  for (const value of one) {
    while (at < other.length && other[at]! < value) at++;
    if (other[at] === value) common++;
  }
  return common / (one.length + other.length - common);
}

/** MinHash (Broder 1997) in bands: equal keys say that the smallest of four permuted shingles are equal. */
function bandsOf(shingles: Uint32Array): string[] {
  const smallest = new Uint32Array(hashes).fill(0xffffffff);
  for (const shingle of shingles) {
    for (let hash = 0; hash < hashes; hash++) {
      const value = mixed(shingle ^ Math.imul(hash + 1, 0x9e3779b1));
      if (value < smallest[hash]!) smallest[hash] = value;
    }
  }
  return Array.from(
    { length: hashes / band },
    (_, at) => `${at}:${smallest.subarray(at * band, (at + 1) * band).join()}`,
  );
}

/** FNV-1a over UTF-16 units. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return mixed(hash);
}

/** The finaliser of MurmurHash3: every bit of the input moves every bit of the output. */
function mixed(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// Token sequences as a forest: beginnings that several have in common stand once. Knows sequences, not rows or answers.
import type { NativeBatch } from "../support/native.js";

/** A run of tokens, what follows it, and which sequences end with it. */
export interface Node {
  tokens: Int32Array;
  children: Node[];
  /** Numbers of the sequences whose last token is the last of this run. */
  ends: number[];
}

/** A token sequence and the caller's number for it. */
export interface Sequence {
  tokens: Int32Array;
  id: number;
}

/** A forest laid out as a batch, without its queries. */
export interface Layout {
  tokens: Int32Array;
  segments: Int32Array;
  /** For each node, the index in tokens of its first. */
  starts: Map<Node, number>;
}

/**
 * Merges beginnings in common. Roots and children come in the order of their tokens, so the result does not depend on the order given.
 *
 * @param sequences - none of them empty
 * @param least - shortest beginning, in tokens, that is worth a node of its own; shorter ones are repeated
 */
export function buildForest(sequences: readonly Sequence[], least: number): Node[] {
  const sorted = [...sequences].sort((a, b) => compareTokens(a.tokens, b.tokens) || a.id - b.id);
  const shared = sorted.map((one, index) => (index === 0 ? 0 : sharedPrefix(sorted[index - 1]!.tokens, one.tokens)));
  const roots: Node[] = [];
  // (from, to) of sorted agree in their first `depth` tokens, which the node that owns `into` has laid out already.
  const work: { from: number; to: number; depth: number; into: Node[] }[] = [];
  const groups = (from: number, to: number, depth: number, at: number, into: Node[]) => {
    const parts: typeof work = [];
    for (let start = from; start < to; ) {
      let end = start + 1;
      while (end < to && shared[end]! > at) end += 1;
      parts.push({ from: start, to: end, depth, into });
      start = end;
    }
    work.push(...parts.reverse());
  };
  groups(0, sorted.length, 0, 0, roots);
  while (work.length > 0) {
    const { from, to, depth, into } = work.pop()!;
    let common = sorted[from]!.tokens.length;
    for (let index = from + 1; index < to; index++) common = Math.min(common, shared[index]!);
    if (to - from > 1 && common - depth < least && common < sorted[to - 1]!.tokens.length) {
      splitShort(from, to, depth, common, into);
      continue;
    }
    const node: Node = { tokens: sorted[from]!.tokens.subarray(depth, common), children: [], ends: [] };
    into.push(node);
    let next = from;
    while (next < to && sorted[next]!.tokens.length === common) node.ends.push(sorted[next++]!.id);
    if (next < to) groups(next, to, common, common, node.children);
  }
  return roots;

  /** A beginning too short for a node: each group that differs behind it repeats it. */
  function splitShort(from: number, to: number, depth: number, common: number, into: Node[]): void {
    let next = from;
    while (next < to && sorted[next]!.tokens.length === common) next += 1;
    if (next < to) groups(next, to, depth, common, into);
    if (next > from) work.push({ from, to: next, depth, into });
  }
}

/** Lays a forest out depth first: a parent before its children, no gaps, no empty segment. */
export function layOut(roots: readonly Node[]): Layout {
  const nodes: { node: Node; parent: number }[] = [];
  const work = [...roots].reverse().map((node) => ({ node, parent: -1 }));
  while (work.length > 0) {
    const entry = work.pop()!;
    const index = nodes.push(entry) - 1;
    for (const child of [...entry.node.children].reverse()) work.push({ node: child, parent: index });
  }
  const total = nodes.reduce((sum, { node }) => sum + node.tokens.length, 0);
  const layout: Layout = {
    tokens: new Int32Array(total),
    segments: new Int32Array(nodes.length * 3),
    starts: new Map(),
  };
  let start = 0;
  for (const [index, { node, parent }] of nodes.entries()) {
    layout.tokens.set(node.tokens, start);
    layout.segments.set([start, node.tokens.length, parent], index * 3);
    layout.starts.set(node, start);
    start += node.tokens.length;
  }
  return layout;
}

/** Calls back with each sequence's id and its path from root to end. The path is only valid during the call. */
export function eachPath(roots: readonly Node[], visit: (id: number, path: readonly Node[]) => void): void {
  const path: Node[] = [];
  const work: (Node | null)[] = [...roots].reverse();
  while (work.length > 0) {
    const node = work.pop()!;
    if (node === null) {
      path.pop();
      continue;
    }
    path.push(node);
    for (const id of node.ends) visit(id, path);
    work.push(null, ...[...node.children].reverse());
  }
}

/** Collects queries in the order of rows. */
export class Queries {
  #positions: number[] = [];
  #tokens: number[] = [];

  /** Number of queries so far. */
  get length(): number {
    return this.#positions.length;
  }

  add(position: number, token: number): void {
    this.#positions.push(position);
    this.#tokens.push(token);
  }

  batch({ tokens, segments }: Layout): NativeBatch {
    return {
      tokens,
      segments,
      queryPositions: Int32Array.from(this.#positions),
      queryTokens: Int32Array.from(this.#tokens),
    };
  }
}

/** Indices in the layout of the last `count` tokens of a path, in their order. */
export function lastPositions(path: readonly Node[], starts: Layout["starts"], count: number): number[] {
  const positions: number[] = [];
  for (let index = path.length - 1; index >= 0 && positions.length < count; index--) {
    const node = path[index]!;
    const start = starts.get(node)!;
    for (let at = node.tokens.length - 1; at >= 0 && positions.length < count; at--) positions.push(start + at);
  }
  return positions.reverse();
}

/** Number of tokens at the front that both have in common. */
export function sharedPrefix(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length += 1;
  return length;
}

/** Order of two sequences by their first token that differs; a beginning stands before what continues it. */
export function compareTokens(a: Int32Array, b: Int32Array): number {
  const same = sharedPrefix(a, b);
  return (a[same] ?? -1) - (b[same] ?? -1);
}

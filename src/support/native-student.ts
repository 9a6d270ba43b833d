// The part of the boundary to native/addon that students add: what of a teacher their files hold.

/** What stays of a teacher, by its number there, or -1 for what is new; layers, width and feedForward rising but for the new. Of a layer as much as of every other. */
export interface NativeStudentParts {
  layers: Int32Array;
  /** Channels of the residual stream. */
  width: Int32Array;
  /** Of each layer. */
  feedForward: Int32Array[];
  /** Of each layer: query heads. */
  heads: Int32Array[];
  /** Of each layer: key-value heads, each read by as many of these query heads, in their order. */
  keyValueHeads: Int32Array[];
  /** Of new values. */
  seed: number;
  /**
   * null: all. Else control tokens and bytes, and the wanted tokens in their order, with the pieces that they are merged from, as far as they
   * fit into `most` tokens in all.
   */
  tokens: { wanted: Int32Array; most: number } | null;
}

/** What parts of a model do on the texts that an importance matrix has seen, by the squares of what they write or are read for (docs/numerics.md). */
export interface NativeEnergies {
  /** (layers, feed-forward width) */
  feedForward: Float64Array;
  /** (layers, query heads) */
  heads: Float64Array;
  /** (layers, width) */
  width: Float64Array;
}

// The part of the boundary to native/addon that students add: what of a teacher their files hold.

/** What stays of a teacher, by its number there, rising; of a layer as many channels and groups as of every other. */
export interface NativeStudentParts {
  layers: Int32Array;
  /** Of each layer that stays. */
  feedForward: Int32Array[];
  /** Of each layer that stays: key-value heads, each with its query heads. */
  groups: Int32Array[];
  /**
   * null: all. Else control tokens and bytes, and the wanted tokens in their order, with the pieces that they are merged from, as far as they
   * fit into `most` tokens in all.
   */
  tokens: { wanted: Int32Array; most: number } | null;
}

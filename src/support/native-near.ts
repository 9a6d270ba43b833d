// The part of the boundary to native/addon that finds near vectors.

/** Part of NativeAddon. */
export interface NativeNear {
  /**
   * Pairs (vector asked for, row of the table) whose inner product in f32 is `least` or more, one behind the other; those of one vector rise by row.
   *
   * @param table - (rows, width), read where it lies: it must not change before the promise settles
   * @param asked - (vectors, width)
   * @param variant - of the kernels (default: the best)
   */
  nearRows(
    width: number,
    table: Float32Array,
    asked: Float32Array,
    least: number,
    variant?: string | null,
  ): Promise<Int32Array>;
}

// Where a measured number is past the bound that was set for it.

/**
 * Whether a loss, the difference of two numbers, is past its bound by more than rounding. Ratios of counts, their difference and the bound are rounded, together by less than 4 units in the last place of the
 * largest of them: 0.9 − 0.89 is 0.010000000000000009. One row of a thousand million is a million times that.
 */
export function isPast(bound: number, loss: number, [before, after]: readonly [number, number]): boolean {
  const size = Math.max(Math.abs(before), Math.abs(after), bound);
  return !(loss - bound <= 4 * Number.EPSILON * size);
}

// The suggestion in an error about an unknown name: the nearest known one. Knows nothing of what is named.

/** The known name with the fewest edits (insert, delete, replace, swap) from a wrong one, if few enough to be meant: at most half of its letters; else null. */
export function nearestName(wrong: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let fewest = Math.max(2, Math.floor(wrong.length / 3)) + 1;
  for (const name of known) {
    const edits = editDistance(wrong.toLowerCase(), name.toLowerCase(), fewest);
    if (edits < fewest && 2 * edits <= Math.max(wrong.length, name.length)) {
      fewest = edits;
      best = name;
    }
  }
  return best;
}

/** Optimal string alignment distance (Damerau 1964), or a number of at least `limit` once it is known to be that large. */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        edits = Math.min(edits, beforeLast[j - 2]! + 1);
      row.push(edits);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

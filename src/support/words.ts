// Counts and sizes as people read them. Knows no message.

/** A count with its noun: "1 row", "2 rows". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Numbers in rising order with their noun, those that follow each other in one: "line 3", "steps 3–5, 9". Past six such groups the rest is counted. */
export function numbered(noun: string, numbers: readonly number[]): string {
  const groups: [first: number, last: number][] = [];
  for (const number of numbers) {
    const group = groups.at(-1);
    if (group?.[1] === number - 1) group[1] = number;
    else groups.push([number, number]);
  }
  const shown = groups.slice(0, 6);
  const left = groups.slice(6).reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const list = shown.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
  return `${noun}${numbers.length === 1 ? "" : "s"} ${list}${left > 0 ? ` and ${left} more` : ""}`;
}

/** Bytes of memory in the units that a limit is given in, rounded up: "412 MiB", "1.5 GiB". */
export function memorySize(bytes: number): string {
  const mebibytes = Math.ceil(bytes / 2 ** 20);
  return mebibytes < 1024 ? `${mebibytes} MiB` : `${Math.ceil((bytes / 2 ** 30) * 10) / 10} GiB`;
}

/** A word as a POSIX shell reads it back. */
export function shellWord(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

// Counts and sizes as people read them. Knows no message.

/** A count with its noun: "1 row", "2 rows". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
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

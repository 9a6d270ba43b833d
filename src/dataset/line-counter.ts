// Line numbers of byte offsets, counted from the bytes themselves: quoted line ends count as every editor counts them.

const newline = 0x0a;
const carriageReturn = 0x0d;

/** Moves forward through pieces of a file, and forgets what lies behind. */
export class LineCounter {
  #pieces: Buffer[] = [];
  #at = 0;

  /** @param line - number of the line that the byte at `offset` stands on */
  constructor(
    public offset: number,
    public line: number,
  ) {}

  /** Adds the bytes that follow those already given. */
  push(piece: Buffer): void {
    this.#pieces.push(piece);
  }

  /** Moves to an offset, at most to the end of the bytes given. */
  moveTo(offset: number): void {
    while (this.offset < offset && this.#pieces.length > 0) {
      const piece = this.#pieces[0]!;
      const end = Math.min(piece.length, this.#at + offset - this.offset);
      for (
        let next = piece.indexOf(newline, this.#at);
        next !== -1 && next < end;
        next = piece.indexOf(newline, next + 1)
      ) {
        this.line += 1;
      }
      this.offset += end - this.#at;
      this.#at = end;
      this.#drop();
    }
  }

  /** Steps over blank lines, to the first byte of the record that follows; gives its line. */
  lineOfRecord(): number {
    for (let byte = this.#peek(); byte === newline || byte === carriageReturn; byte = this.#peek()) {
      this.moveTo(this.offset + 1);
    }
    return this.line;
  }

  #peek(): number | undefined {
    return this.#pieces[0]?.[this.#at];
  }

  #drop(): void {
    if (this.#at < this.#pieces[0]!.length) return;
    this.#pieces.shift();
    this.#at = 0;
  }
}

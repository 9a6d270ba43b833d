// JSON from files of strangers: what RFC 8259 allows, less duplicate keys, lone surrogates, numbers beyond the range of a
// float and nesting deeper than 127 (the reference reader of safetensors stops there). Knows no field.
// JSON.parse cannot serve: of duplicate keys it keeps the last and says nothing, and it rounds whole numbers above 2^53.

/** A whole number without sign, fraction or exponent is a bigint; every other number is a number. */
export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
/** Keys in the order of the file. A Map, so that no key can touch a prototype. */
export type JsonObject = Map<string, Json>;

const DEEPEST = 127;

/** Throws a SyntaxError that says what is wrong at which character. */
export function parseStrictJson(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Json {
    this.#space();
    const first = this.#text[this.#at];
    if (first === "{") return this.#object(depth + 1);
    if (first === "[") return this.#array(depth + 1);
    if (first === '"') return this.#string();
    for (const [word, value] of [
      ["null", null],
      ["true", true],
      ["false", false],
    ] as const) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) this.#fail("the end");
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = new Map();
    this.#open(depth);
    if (this.#closes("}")) return object;
    for (;;) {
      this.#space();
      const start = this.#at;
      if (this.#text[this.#at] !== '"') this.#fail("a key in quotes");
      const key = this.#string();
      if (object.has(key)) {
        this.#at = start;
        this.#fail("a key that was not there before");
      }
      this.#space();
      if (this.#text[this.#at++] !== ":") this.#fail("a colon", 1);
      object.set(key, this.value(depth));
      if (this.#closes("}")) return object;
      if (this.#text[this.#at++] !== ",") this.#fail("a comma or }", 1);
    }
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#open(depth);
    if (this.#closes("]")) return items;
    for (;;) {
      items.push(this.value(depth));
      if (this.#closes("]")) return items;
      if (this.#text[this.#at++] !== ",") this.#fail("a comma or ]", 1);
    }
  }

  #string(): string {
    const start = this.#at++;
    while (this.#at < this.#text.length && this.#text[this.#at] !== '"')
      this.#at += this.#text[this.#at] === "\\" ? 2 : 1;
    if (this.#at >= this.#text.length) this.#fail("a closing quote");
    const quoted = this.#text.slice(start, ++this.#at);
    let value: string;
    try {
      value = JSON.parse(quoted) as string;
    } catch {
      this.#at = start;
      return this.#fail("a string without control characters or unknown escapes");
    }
    if (/\p{Surrogate}/u.test(value)) {
      this.#at = start;
      this.#fail("a string without lone surrogates");
    }
    return value;
  }

  #number(): number | bigint {
    const pattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
    pattern.lastIndex = this.#at;
    const digits = pattern.exec(this.#text)?.[0];
    if (digits === undefined) return this.#fail("a value");
    if (!Number.isFinite(Number(digits))) this.#fail("a number in the range of a float");
    this.#at += digits.length;
    // No count of ours needs more than 20 digits, and BigInt() of a long text takes time that grows with its square.
    return /^\d{1,20}$/.test(digits) ? BigInt(digits) : Number(digits);
  }

  #open(depth: number): void {
    if (depth > DEEPEST) this.#fail(`at most ${DEEPEST} levels`);
    this.#at++;
  }

  /** Steps over white space and, when it is there, over the closing bracket. */
  #closes(bracket: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== bracket) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (" \t\n\r".includes(this.#text[this.#at] ?? "x")) this.#at++;
  }

  #fail(what: string, back = 0): never {
    const at = this.#at - back;
    const found = at < this.#text.length ? JSON.stringify(this.#text.slice(at, at + 20)) : "the end";
    throw new SyntaxError(`expected ${what} at character ${at}, received ${found}`);
  }
}

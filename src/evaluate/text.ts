// How alike two answers in words are: exact match and token F1 of one row, as SQuAD's evaluation script counts them.
// Knows no task and no average (metrics.mean).

// What Python's str.split() takes for white space; \s of JavaScript differs in U+001C–U+001F, U+0085 and U+FEFF.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these control characters are white space to Python
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
// Python's \b looks at every letter and digit, JavaScript's at ASCII only.
const ARTICLES = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/**
 * SQuAD's normalisation: lower case, without ASCII punctuation and without the articles a, an, the; words joined by one space.
 *
 * @example
 * ```ts
 * normaliseAnswer("The  Drupe!"); // "drupe"
 * ```
 */
export function normaliseAnswer(text: string): string {
  return words(text).join(" ");
}

/**
 * 1 when both texts are equal after {@link normaliseAnswer}, else 0.
 *
 * @example
 * ```ts
 * exactMatch("a drupe", "Drupe."); // 1
 * ```
 */
export function exactMatch(answer: string, prediction: string): 0 | 1 {
  return normaliseAnswer(answer) === normaliseAnswer(prediction) ? 1 : 0;
}

/**
 * Harmonic mean of precision and recall over the words that both texts share, after {@link normaliseAnswer}; a word counts
 * as often as it stands in both. When one text has no words: 1 if the other has none either, else 0 (SQuAD 2.0).
 *
 * @example
 * ```ts
 * tokenF1("an aggregate of drupelets", "aggregate fruit"); // 0.4: 1 of 2 words, 1 of 3 found
 * ```
 */
export function tokenF1(answer: string, prediction: string): number {
  const [expected, given] = [words(answer), words(prediction)];
  if (expected.length === 0 || given.length === 0) return expected.length === given.length ? 1 : 0;
  const left = new Map<string, number>();
  for (const word of expected) left.set(word, (left.get(word) ?? 0) + 1);
  let shared = 0;
  for (const word of given) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    shared++;
  }
  return (2 * shared) / (expected.length + given.length);
}

function words(text: string): string[] {
  const bare = text.toLowerCase().replace(PUNCTUATION, "").replace(ARTICLES, " ");
  return bare.split(WHITE_SPACE).filter((word) => word !== "");
}

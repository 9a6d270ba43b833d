// ROUGE-L of one row (Lin 2004), counted as Google's rouge-score package does without stemming. Knows two texts.

/**
 * F1 of the longest common subsequence of words. Words are runs of a–z and 0–9 in lower case; any other character parts them, so
 * that it says little about texts in other alphabets. 0 where a text has no words.
 *
 * @example
 * ```ts
 * rougeL("an aggregate of drupelets", "aggregate drupelets"); // 0.667: 2 of 2 and 2 of 4 words, in order
 * ```
 */
export function rougeL(answer: string, prediction: string): number {
  const [expected, given] = [words(answer), words(prediction)];
  if (expected.length === 0 || given.length === 0) return 0;
  const common = longestCommon(expected, given);
  const [precision, recall] = [common / given.length, common / expected.length];
  return common === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

function words(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
}

/** Length of the longest common subsequence: one row of the table at a time. */
function longestCommon(one: readonly string[], other: readonly string[]): number {
  let before = new Int32Array(other.length + 1);
  for (const word of one) {
    const row = new Int32Array(other.length + 1);
    for (const [place, candidate] of other.entries()) {
      row[place + 1] = word === candidate ? before[place]! + 1 : Math.max(row[place]!, before[place + 1]!);
    }
    before = row;
  }
  return before[other.length]!;
}

// A text with the terms of one group in the place of another's, its grammar kept: he and she with their cases, a and an, capital letters.
// Knows English as far as that needs; no model.
import { patternOf, type TermGroups } from "./terms.js";

/** What stands behind "her" or "his" where a noun follows: then they are possessive. */
const notPossessed = new Set(
  (
    "a an the and or but nor so yet to of in on at by for with from as is was are were be been has had have will would can could may might " +
    "should must do does did not n't that which who when while because if than then there here again too also very now down up out off away " +
    "back into onto over after before about around through this these those i you he she it we they"
  ).split(" "),
);

/**
 * Puts the terms of one group in the place of another's. null where the text mentions none of them.
 *
 * @example
 * ```ts
 * swapTerms(gender, "female", "male")("She lost her keys."); // "He lost his keys."
 * ```
 */
export function swapTerms({ groups }: TermGroups, from: string, to: string): (text: string) => string | null {
  const [given, wanted] = [groups[from]!, groups[to]!];
  const counterparts = new Map<string, { term: string; other: string }>();
  for (const [place, term] of given.entries()) {
    const other = wanted[place];
    // The first of equal terms stands: a list may need one twice to keep its order.
    if (other !== undefined && !counterparts.has(term.toLowerCase()))
      counterparts.set(term.toLowerCase(), { term, other });
  }
  if (counterparts.size === 0) return () => null;
  const term = patternOf([...counterparts.keys()]).source;
  const pattern = new RegExp(`(?:(?<article>(?<![\\p{L}\\p{N}])an?)(?<gap>\\s+))?(?<term>${term})`, "giu");
  return (text) => {
    let swapped = false;
    const result = text.replace(pattern, (...found) => {
      const { article, gap, term } = found.at(-1) as { article?: string; gap?: string; term: string };
      const known = counterparts.get(term.toLowerCase())!;
      const behind = text.slice((found.at(-3) as number) + (found[0] as string).length);
      const other = inCase(term, { ...known, other: pronoun(known, behind) ?? known.other });
      swapped = true;
      return article === undefined ? other : `${articleFor(article, other)}${gap}${other}`;
    });
    return swapped ? result : null;
  };
}

/** "her" is him or his, "his" is her or hers: by what follows. null for every other term. */
function pronoun({ term, other }: { term: string; other: string }, behind: string): string | null {
  const next = /^\s+(?<word>[\p{L}\p{N}'’-]+)/u.exec(behind)?.groups?.word?.toLowerCase();
  const possessive = next !== undefined && !notPossessed.has(next);
  if (term === "her" && other === "him") return possessive ? "his" : "him";
  if (term === "his" && other === "hers") return possessive ? "her" : "hers";
  return null;
}

/** The other term in the case in which the text writes this one, where it writes it otherwise than the list. */
function inCase(written: string, { term, other }: { term: string; other: string }): string {
  if (written === term) return other;
  if (written === written.toLowerCase()) return other.toLowerCase();
  if (written.length > 1 && written === written.toUpperCase()) return other.toUpperCase();
  return other.charAt(0).toUpperCase() + other.slice(1);
}

/** a or an before a word, by its first sound as its letters tell it. */
function articleFor(article: string, word: string): string {
  const lower = word.toLowerCase();
  const vowel = /^[aeiou]/.test(lower)
    ? !/^(?:uni|use|usu|eu|one\b|once)/.test(lower)
    : /^(?:hour|honest|honou?r|heir)/.test(lower);
  const right = vowel ? "an" : "a";
  if (article === article.toUpperCase() && article.length > 1) return right.toUpperCase();
  return article.startsWith("A") ? `A${right.slice(1)}` : right;
}

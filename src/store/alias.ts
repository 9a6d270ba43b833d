// Texts that ask for an answer, as keys: exactly as they are, or without what people write now this way and now that. Knows no answer.
import { unexpected } from "../support/errors.js";
import { hashBytes, sha256Text } from "./key.js";

/** What may be evened out in a text before it is looked up, in the order in which it is done. */
export const normalisations = ["unicode", "case", "punctuation", "space"] as const;
export type Normalisation = (typeof normalisations)[number];

/** Throws "usage" for a name that is none of these. */
export function requireNormalisations(names: readonly string[]): asserts names is readonly Normalisation[] {
  for (const name of names) {
    if (!(normalisations as readonly string[]).includes(name))
      throw unexpected(`some of ${normalisations.join(", ")}`, "normalise", name);
  }
}

/**
 * A text with what is asked for evened out: "unicode" to NFKC; "case" folded; "punctuation" (Unicode's category P) to a space, apostrophes to nothing;
 * "space" (Unicode's White_Space) to one space between words.
 *
 * @example
 * ```ts
 * normalise("Ｐｆｉｚｅｒ’s  COVID-19 vaccine!", ["unicode", "case", "punctuation", "space"]); // "pfizers covid 19 vaccine"
 * ```
 */
export function normalise(text: string, names: readonly Normalisation[]): string {
  let out = text;
  const [unicode, folded] = [names.includes("unicode"), names.includes("case")];
  if (unicode) out = out.normalize("NFKC");
  if (folded) out = fold(out);
  // Folding may leave a letter and its mark apart.
  if (unicode && folded) out = out.normalize("NFKC");
  if (names.includes("punctuation")) out = out.replace(/['’ʼ]/g, "").replace(/\p{P}/gu, " ");
  if (names.includes("space")) out = out.replace(/[\s\u0085]+/gu, " ").trim();
  return out;
}

/** Full case folding: the lower case of the upper case joins ß with ss and ς with σ. The dotless ı, whose upper case is I, stays itself. */
function fold(text: string): string {
  const parts = text.includes("ı") ? text.split("ı") : [text];
  return parts.map((part) => part.toUpperCase().toLowerCase().replaceAll("ς", "σ")).join("ı");
}

/** Bytes of an alias beside its namespace: which normalisations, and SHA-256 of the text. */
export const aliasBytes = 1 + hashBytes;

/** A text whose UTF-16 is broken has no UTF-8 of its own, and is hashed as it is. */
const broken = 0x80;

/** Instead of normalisations: no text, but a request before its prompt is tokens, by its key. */
const laid = 0x20;

/** The key of a request that is laid out, behind its namespace. */
export function laidAlias(key: Uint8Array, namespace: Uint8Array): Buffer {
  return Buffer.concat([namespace, Uint8Array.of(laid), key]);
}

/** The key of a text under normalisations, behind its namespace; null where nothing is left of it, for everything would ask for the same answer then. */
export function aliasOf(text: string, names: readonly Normalisation[], namespace: Uint8Array): Buffer | null {
  const key = aliasRoom(namespace);
  return writeAlias(key, text, names) ? key : null;
}

/** Room for aliases of a namespace, to be written one after the other. */
export function aliasRoom(namespace: Uint8Array): Buffer {
  return Buffer.concat([namespace], namespace.length + aliasBytes);
}

/** aliasOf, into room that is there: a look-up makes nothing that has to be cleared away. */
export function writeAlias(room: Buffer, text: string, names: readonly Normalisation[]): boolean {
  const even = names.length === 0 ? text : normalise(text, names);
  if (even === "") return false;
  const kind = names.reduce((sum, name) => sum | (1 << normalisations.indexOf(name)), 0);
  const at = room.length - hashBytes;
  const whole = even.isWellFormed();
  room[at - 1] = whole ? kind : kind | broken;
  room.write(sha256Text(whole ? even : Buffer.from(even, "utf16le")), at, "base64");
  return true;
}

// How a student's tokens stand for its teacher's: the same ones, or those that the trimmed vocabulary of one of the two kept. Knows no loss.
import type { Model } from "../model/index.js";
import { StillroomError } from "../support/errors.js";
import { type NativeBatch, type NativeTaught, type NativeTokenizer, native } from "../support/native.js";
import type { Encoded } from "../tokens/index.js";
import { decodeEntry, noEntry, renamedEntry } from "./format.js";
import { hashTokenizer } from "./teacher.js";

/** Tokens of a student as its teacher numbers them, and back. One of the two may have only some of the other's. */
export class TokenMap {
  private constructor(
    /** For each token of the student its number in the teacher's vocabulary, or -1; null where they are the same. */
    readonly ids: Int32Array | null,
    /** For each token of the teacher the student's, or -1. */
    readonly own: Int32Array,
  ) {}

  /**
   * Throws "input" where neither's tokens are the other's or a trimmed form of them, with both counts, and where the tokens are the same but not what cuts text into
   * them, with what differs.
   */
  static async between(student: Model, teacher: Model): Promise<TokenMap> {
    const { vocabulary, path } = student.info;
    const remedy = "give a student made from this teacher, or the one that this teacher was made from";
    if (hashTokenizer(student.tokenizer) === hashTokenizer(teacher.tokenizer)) {
      const difference = await native().tokenizerDifference(path, teacher.info.path);
      if (difference === null) return new TokenMap(null, new Int32Array());
      throw new StillroomError(
        "input",
        `the student's tokens are the teacher's, but cut otherwise: ${difference}; ${remedy}`,
      );
    }
    const found = (await trimmedOf(student, teacher)) ?? (await trimmedOf(teacher, student))?.turned();
    if (found) return found;
    throw new StillroomError(
      "input",
      `the student's tokens are not the teacher's: ${path} has ${vocabulary}, ${teacher.info.path} has ${teacher.info.vocabulary}, and neither's are the other's trimmed (student --vocab); ${remedy}`,
    );
  }

  /** @param ids - rising numbers below size */
  static trimmed(ids: Int32Array, size: number): TokenMap {
    const own = new Int32Array(size).fill(-1);
    for (const [token, id] of ids.entries()) own[id] = token;
    return new TokenMap(ids, own);
  }

  /** The same for a student that has all the tokens, and a teacher that has those that were kept. */
  turned(): TokenMap {
    return new TokenMap(this.own, this.ids!);
  }

  /**
   * What cuts text into tokens that both have, in the student's numbers: its own tokenizer; where the teacher has only some of its tokens, the teacher's, which
   * cuts as the student's does what is made of these. It works as long as both are open.
   */
  reading(student: NativeTokenizer, teacher: NativeTokenizer): NativeTokenizer {
    if (!this.ids?.includes(-1)) return student;
    const { vocabulary, bos, eos, endTokens, addsBos } = student;
    return {
      ...{ vocabulary, bos, eos, endTokens, addsBos },
      tokenize: (...asked) => renamed(teacher.tokenize(...asked), this.own),
      detokenize: (...asked) => student.detokenize(...asked),
      close: async () => undefined,
    };
  }

  /** How many of a student's tokens stand before the first one that the teacher has not. */
  readable(tokens: Int32Array): number {
    const { ids } = this;
    const cut = ids === null ? -1 : tokens.findIndex((token) => ids[token] === -1);
    return cut < 0 ? tokens.length : cut;
  }

  /** Rows in the teacher's numbers: it reads the very tokens that the student reads. */
  rowsOfTeacher(rows: readonly Encoded[]): readonly Encoded[] {
    const { ids } = this;
    if (ids === null) return rows;
    return rows.map((row) => ({ ...row, prompt: renamed(row.prompt, ids), answer: renamed(row.answer, ids) }));
  }

  batchOfTeacher(batch: NativeBatch): NativeBatch {
    const { ids } = this;
    if (ids === null) return batch;
    return { ...batch, tokens: renamed(batch.tokens, ids), queryTokens: renamed(batch.queryTokens, ids) };
  }

  /** What the teacher said, in the student's tokens: the mass of those that it has not is the bucket's; of a sample they are left out. */
  ofStudent(taught: NativeTaught): NativeTaught {
    if (this.ids === null) return taught;
    const { topK, tail: kept, entries, tails } = taught;
    const own = {
      ...taught,
      ...{ entries: new Uint32Array(entries.length).fill(noEntry), tails: Float32Array.from(tails) },
    };
    for (const position of tails.keys()) {
      let to = position * topK;
      let tail = tails[position]!;
      for (const entry of entries.subarray(position * topK, (position + 1) * topK)) {
        if (entry === noEntry) break;
        const said = decodeEntry(entry, 0);
        const token = this.own[said.token]!;
        if (token >= 0) own.entries[to++] = renamedEntry(entry, token);
        else if (kept === "bucket") tail += said.probability;
      }
      own.tails[position] = Math.min(1, tail);
    }
    return own;
  }
}

const renamed = (tokens: Int32Array, ids: Int32Array): Int32Array => tokens.map((token) => ids[token]!);

/** From a vocabulary that was trimmed, once or several times, to that which it was trimmed from; null where it was not. */
async function trimmedOf(part: Model, whole: Model): Promise<TokenMap | null> {
  const ids = await native().trimmedTokens(part.info.path, whole.info.path);
  if (!ids) return null;
  const of = (token: number) => ids[token] ?? token;
  const [ours, theirs] = [part.tokenizer, whole.tokenizer];
  const same = of(ours.bos) === theirs.bos && of(ours.eos) === theirs.eos && ours.addsBos === theirs.addsBos;
  return same ? TokenMap.trimmed(ids, theirs.vocabulary) : null;
}

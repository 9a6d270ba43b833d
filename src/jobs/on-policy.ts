// Steps of distillation on the student's own answers: it writes behind the prompts of the step's rows, and the teacher is asked about what it wrote. Holds no loss.
import { decodeRows } from "../decode/index.js";
import type { Model } from "../model/index.js";
import { StillroomError } from "../support/errors.js";
import type { NativeLora, NativeModelInfo, NativePrecision } from "../support/native.js";
import { Random } from "../support/random.js";
import type { Teacher, TokenMap } from "../teach/index.js";
import type { Encoded } from "../tokens/index.js";
import { type MicroBatch, microBatcher } from "../train/index.js";

/** Who writes, who is asked, and how often. */
export interface Writing {
  student: Model;
  teacher: Teacher;
  tokens: TokenMap;
  rows: readonly Encoded[];
  /** How many of them, the last ones, are of texts: nothing is to be written behind those, and the teacher is asked about them as they are. */
  texts: number;
  /** Share of the steps, drawn by seed and step. */
  share: number;
  seed: number;
  /** Of the products that the student writes with (default: as it was opened). */
  precision?: NativePrecision | undefined;
  signal: AbortSignal | null;
}

/** Bytes of the panels of a student's weights that are kept beside them while it writes, from above: of int8 with a scale for each 32 of them, or of f32 (default). */
export const writingBytes = ({ parameters }: NativeModelInfo, precision: NativePrecision = "f32"): number =>
  parameters * (precision === "int8" ? 1 + 4 / 32 : precision === "f32" ? 4 : 0);

/** How a step's rows are cut. */
export interface Cutting {
  tokenBudget: number;
  sharePrefix: boolean;
}

/** What makes the micro-batches of a step from the student as it is, with an adapter or (null) by its own weights; null for a step on the rows' own answers. */
export type WriteStep = (
  step: number,
  indices: Int32Array,
  lora: NativeLora | null,
  cutting: Cutting,
) => Promise<MicroBatch[]> | null;

/** The steps of a run. Draws depend on seed, step and row alone: a run that goes on writes the same. */
export function writingSteps({
  student,
  teacher,
  tokens,
  rows,
  texts,
  share,
  seed,
  precision,
  signal,
}: Writing): WriteStep {
  const own = rows.length - texts;
  const most = (lengths: readonly number[]) => lengths.reduce((a, b) => Math.max(a, b), 1);
  const maxTokens = most(rows.slice(0, own).map(({ answer }) => answer.length));
  const longestOwn = most(rows.slice(0, own).map(({ prompt }) => prompt.length)) + maxTokens;
  const longest = most([longestOwn, ...rows.slice(own).map(({ prompt, answer }) => prompt.length + answer.length)]);
  const write = async (step: number, indices: Int32Array, lora: NativeLora | null): Promise<Encoded[]> => {
    const draws = new Random(seed, step);
    const asked = Array.from(
      indices.filter((index) => index < own),
      (index) => rows[index]!,
    );
    const requests = asked.map(({ prompt }) => ({ prompt, maxTokens, temperature: 1, seed: draws.bits() }));
    const written = new Array<Encoded>(asked.length);
    const options = { lora, longest: longestOwn, precision, ...(signal && { signal }) };
    for await (const { index, tokens: found, ended, reason } of decodeRows(student, requests, options)) {
      if (ended === "refused") throw new StillroomError("input", `the student cannot answer a row: ${reason}`);
      // The place of a token that the teacher has not is asked about, whatever stands there, and nothing behind it.
      const readable = tokens.readable(found);
      const ends = ended === "end" || readable < found.length;
      written[index] = { ...asked[index]!, answer: ends ? withEnd(student, found.subarray(0, readable)) : found };
    }
    return [
      ...written,
      ...Array.from(
        indices.filter((index) => index >= own),
        (index) => rows[index]!,
      ),
    ];
  };
  return (step, indices, lora, { tokenBudget, sharePrefix }) => {
    if (share < 1 && new Random(seed, step).bits() >= share * 2 ** 32) return null;
    return (async () => {
      const learnt = await write(step, indices, lora);
      const parts = microBatcher(learnt, tokenBudget, sharePrefix)(Int32Array.from(learnt.keys()));
      const batches: MicroBatch[] = [];
      for (const part of parts) {
        const taught = tokens.ofStudent(await teacher.teach(tokens.batchOfTeacher(part.batch), longest));
        batches.push({ ...part, batch: { ...part.batch, taught } });
      }
      return batches;
    })();
  };
}

function withEnd({ tokenizer }: Model, tokens: Int32Array): Int32Array {
  const end = tokenizer.eos >= 0 ? tokenizer.eos : tokenizer.endTokens[0]!;
  return Int32Array.of(...tokens, end);
}

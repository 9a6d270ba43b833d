// Rows and choices as batches: what goes into the model, and which next tokens are asked for. Runs no model.
import { unexpected } from "../support/errors.js";
import type { NativeBatch } from "../support/native.js";
import type { Encoded } from "./encode.js";
import {
  buildForest,
  eachPath,
  lastPositions,
  layOut,
  type Node,
  Queries,
  type Sequence,
  sharedPrefix,
} from "./forest.js";

/** Shortest beginning that rows share a segment for: below it, another segment costs more than the tokens do. */
const leastShared = 8;

/**
 * Packs rows for training: every token but the last of each row goes in, every token of its answer is asked for.
 * Queries stand row by row in the order given, answer.length of them for each row.
 *
 * @param options.sharePrefix - beginnings that rows have in common are computed once; the sums stay the same without dropout
 * @example
 * ```ts
 * const { lossSum, count } = await trainer.accumulate(packRows(rows, { sharePrefix: true }), step, microBatch);
 * ```
 */
export function packRows(rows: readonly Encoded[], options: { sharePrefix: boolean }): NativeBatch {
  const sequences = rows.map((row, id) => ({ tokens: inputOf(row), id }));
  const roots = options.sharePrefix
    ? buildForest(sequences, leastShared)
    : sequences.map(({ tokens, id }): Node => ({ tokens, children: [], ends: [id] }));
  const layout = layOut(roots);
  const positions: number[][] = new Array(rows.length);
  eachPath(roots, (id, path) => {
    positions[id] = lastPositions(path, layout.starts, rows[id]!.answer.length);
  });
  const queries = new Queries();
  for (const [id, { answer }] of rows.entries()) {
    for (const [index, token] of answer.entries()) queries.add(positions[id]![index]!, token);
  }
  return queries.batch(layout);
}

function inputOf({ prompt, answer, row }: Encoded): Int32Array {
  if (prompt.length === 0 || answer.length === 0) {
    throw unexpected(
      "at least one token of prompt and of answer",
      `the row ${row.file}:${row.line}`,
      [prompt.length, answer.length],
      "input",
    );
  }
  const tokens = new Int32Array(prompt.length + answer.length - 1);
  tokens.set(prompt);
  tokens.set(answer.subarray(0, -1), prompt.length);
  return tokens;
}

/**
 * Packs prompts with the answers to choose from: each prompt once, beginnings that prompts or choices share once, and a choice's
 * last token only where another choice goes on behind it.
 *
 * @param choices - for each prompt its choices, none of them empty
 * @param front - the one beginning that is shared, by the prompts that have it, and nothing else is: a row's scores are then the same bits in any batch,
 * because its segments are (default: whatever prompts have in common)
 * @returns the batch, and `ranges` (P, C, 2) flattened: for each prompt and choice its first query and one past its last
 * @example
 * ```ts
 * const { batch, ranges } = packChoices([prompt], [[yes, no]]);
 * const scores = await model.score(batch, null);
 * const logYes = scores.subarray(ranges[0], ranges[1]).reduce((sum, one) => sum + one, 0);
 * ```
 */
export function packChoices(
  prompts: readonly Int32Array[],
  choices: readonly (readonly Int32Array[])[],
  front?: Int32Array,
): { batch: NativeBatch; ranges: Int32Array } {
  if (prompts.length !== choices.length)
    throw unexpected("choices for every prompt", "choices", choices.length, "internal");
  for (const [index, prompt] of prompts.entries()) {
    if (prompt.length === 0) throw unexpected("a prompt of at least one token", `prompt ${index}`, [], "input");
    if (choices[index]!.some((choice) => choice.length === 0)) {
      throw unexpected("choices of at least one token", `the choices of prompt ${index}`, [], "input");
    }
  }
  const sequences = prompts.map((tokens, id) => ({ tokens, id }));
  const roots = front ? behindFront(sequences, front) : buildForest(sequences, leastShared);
  const branches = prompts.map((_, id) => branchesOf(choices[id]!));
  const ends = endsOf(roots, prompts.length);
  for (const [id, branch] of branches.entries()) ends[id]!.children.push(...branch);
  const layout = layOut(roots);
  const queries = new Queries();
  const ranges: number[] = [];
  for (const [id, branch] of branches.entries()) {
    const end = ends[id]!;
    const last = layout.starts.get(end)! + end.tokens.length - 1;
    const inside: number[][] = choices[id]!.map(() => []);
    eachPath(branch, (choice, path) => {
      inside[choice] = lastPositions(path, layout.starts, choices[id]![choice]!.length - 1);
    });
    for (const [choice, tokens] of choices[id]!.entries()) {
      const from = queries.length;
      for (const [index, token] of tokens.entries())
        queries.add(index === 0 ? last : inside[choice]![index - 1]!, token);
      ranges.push(from, queries.length);
    }
  }
  return { batch: queries.batch(layout), ranges: Int32Array.from(ranges) };
}

/**
 * Packs texts that are taken as they are, a query at the end of each, in their order.
 *
 * @param texts - none of them empty
 * @param front - as of {@link packChoices}; without one nothing is shared, and a text's segment is the same in any batch
 */
export function packTexts(texts: readonly Int32Array[], front: Int32Array = new Int32Array(0)): NativeBatch {
  const roots = behindFront(
    texts.map((tokens, id) => ({ tokens, id })),
    front,
  );
  const layout = layOut(roots);
  const ends = endsOf(roots, texts.length);
  const queries = new Queries();
  for (const end of ends) queries.add(layout.starts.get(end)! + end.tokens.length - 1, 0);
  return queries.batch(layout);
}

/** Each sequence as a segment of its own, behind the front where it goes on behind it. */
function behindFront(sequences: readonly Sequence[], front: Int32Array): Node[] {
  const shared: Node = { tokens: front, children: [], ends: [] };
  const leaf = (tokens: Int32Array, id: number): Node => ({ tokens, children: [], ends: [id] });
  const alone: Node[] = [];
  for (const { tokens, id } of sequences) {
    if (goesOn(tokens, front)) shared.children.push(leaf(tokens.subarray(front.length), id));
    else alone.push(leaf(tokens, id));
  }
  return shared.children.length > 0 ? [shared, ...alone] : alone;
}

/** Whether a prompt begins with a front that is worth a segment, and goes on. */
export function goesOn(prompt: Int32Array, front: Int32Array): boolean {
  return front.length >= leastShared && prompt.length > front.length && sharedPrefix(front, prompt) === front.length;
}

/** The forest of the choices' tokens that go into the model. */
function branchesOf(choices: readonly Int32Array[]): Node[] {
  const inputs = choices.map((choice, id) => ({ tokens: choice.subarray(0, -1), id }));
  return buildForest(
    inputs.filter(({ tokens }) => tokens.length > 0),
    1,
  );
}

function endsOf(roots: readonly Node[], count: number): Node[] {
  const ends: Node[] = new Array(count);
  eachPath(roots, (id, path) => {
    ends[id] = path[path.length - 1]!;
  });
  return ends;
}

/**
 * Cuts the rows of an optimiser step into micro-batches, in their order, each within the token budget as {@link packRows} packs it.
 * A row longer than the budget stands alone.
 */
export function microBatches(
  rows: readonly Encoded[],
  options: { tokenBudget: number; sharePrefix: boolean },
): Encoded[][] {
  const batches: Encoded[][] = [];
  let used = 0;
  for (const row of rows) {
    const length = row.prompt.length + row.answer.length - 1;
    const first = batches.at(-1)?.[0];
    const shared = first && options.sharePrefix ? sharedPrefix(first.prompt, row.prompt) : 0;
    // Of a beginning in common, the forest may repeat what is too short for a segment.
    const own = length - Math.max(0, shared - leastShared + 1);
    if (first && used + own <= options.tokenBudget) {
      batches.at(-1)!.push(row);
      used += own;
    } else {
      batches.push([row]);
      used = length;
    }
  }
  return batches;
}

// Log-probabilities of given continuations, for thousands of prompts: what prompts share is computed once a batch, continuations are
// branches behind them. Knows tokens and batches; no task and no metric.
import type { Model } from "../model/index.js";
import { StillroomError } from "../support/errors.js";
import { type NativeBatch, type NativeLora, native } from "../support/native.js";
import { compareTokens, goesOn, packChoices, sharedPrefix } from "../tokens/index.js";
import type { Step } from "./scoring.js";

/** Sequences that llama.cpp has room for at once. */
const sequences = 8;
/** Tokens of a batch, unless the beginning that prompts share is long. */
const leastBudget = 2048;
const mostBudget = 6144;

/** A prompt and what may follow it, in tokens; neither is empty. */
export interface Choices {
  prompt: Int32Array;
  continuations: readonly Int32Array[];
}

interface ChoicesJob {
  model: Model;
  lora: NativeLora | null;
  tokenBudget?: number | undefined;
  /** As of packChoices: the same bits in any batch, for prompts that share no more than this. */
  front?: Int32Array | undefined;
}

type Score = (batch: NativeBatch) => Promise<Float64Array>;

/**
 * Sums of natural log-probabilities, for each prompt one a continuation, in the order given. Throws "input" where the model gives no numbers.
 *
 * @param tokenBudget - most tokens of one batch (default: 2048, or up to 6144 where prompts share a long beginning); a longer row goes alone
 */
export async function scoreChoices(
  { model, lora, tokenBudget, front }: ChoicesJob,
  rows: readonly Choices[],
  step: Step,
): Promise<Float64Array[]> {
  const sums = new Array<Float64Array>(rows.length);
  const { score, close } = await scorer(model, lora, rows);
  try {
    for (const places of planBatches(rows, tokenBudget, front)) {
      const prompts = places.map((place) => rows[place]!.prompt);
      const { batch, ranges } = packChoices(
        prompts,
        places.map((place) => rows[place]!.continuations),
        front,
      );
      const logProbabilities = await score(batch);
      let at = 0;
      for (const place of places) {
        sums[place] = Float64Array.from(rows[place]!.continuations, () => {
          const [from, to] = [ranges[at++]!, ranges[at++]!];
          const sum = logProbabilities.subarray(from, to).reduce((total, value) => total + value, 0);
          if (!Number.isFinite(sum)) throw notFinite(model, lora, "a log-probability", sum);
          return sum;
        });
      }
      step(
        places.length,
        places.reduce((sum, place) => sum + rows[place]!.prompt.length + continued(rows[place]!), 0),
      );
    }
  } finally {
    await close();
  }
  return sums;
}

const continued = ({ continuations }: Choices): number => continuations.reduce((sum, { length }) => sum + length, 0);

/** What to say of a model, or of what runs on it, whose weights make a number that is none. */
export function notFinite({ info }: Model, lora: NativeLora | null, what: string, value: number): StillroomError {
  const who = lora ? `${info.path} with its adapter` : info.path;
  const remedy = "fetch it again, or train again with a smaller learning rate";
  const message = `${who} gives ${value} as ${what}: the file is damaged, or its training diverged; ${remedy}`;
  return new StillroomError("input", message);
}

/** Row places in batches: ordered by their tokens, so that rows with a long beginning in common meet, and it is counted once a batch. */
export function planBatches(rows: readonly Choices[], tokenBudget?: number, front?: Int32Array): number[][] {
  const places = [...rows.keys()].sort((a, b) => compareTokens(rows[a]!.prompt, rows[b]!.prompt) || a - b);
  const first = rows[places[0]!];
  const shared = front?.length ?? (first ? sharedPrefix(first.prompt, rows[places.at(-1)!]!.prompt) : 0);
  const sharedWith = (before: Int32Array, prompt: Int32Array) =>
    front ? (goesOn(prompt, front) ? front.length : 0) : sharedPrefix(before, prompt);
  const budget = tokenBudget ?? Math.min(mostBudget, Math.max(leastBudget, 8 * shared));
  const batches: number[][] = [];
  let used = 0;
  for (const [index, place] of places.entries()) {
    const row = rows[place]!;
    const whole = row.prompt.length + continued(row);
    const own = index === 0 ? whole : whole - sharedWith(rows[places[index - 1]!]!.prompt, row.prompt);
    const last = batches.at(-1);
    if (last && used + own <= budget) {
      last.push(place);
      used += own;
    } else {
      batches.push([place]);
      used = whole;
    }
  }
  return batches;
}

/** Our engine where it takes the model; else llama.cpp, on the same batches. */
async function scorer(
  model: Model,
  lora: NativeLora | null,
  rows: readonly Choices[],
): Promise<{ score: Score; close: () => Promise<void> }> {
  if (model.tunable) return { score: (batch) => model.native.score(batch, lora), close: async () => undefined };
  const runner = await native().openRunner(model.info.path, {
    threads: model.threads,
    adapter: null,
    contextTokens: rows.reduce((most, row) => Math.max(most, row.prompt.length + continued(row)), 1),
    sequences,
  });
  return { score: (batch) => runner.score(batch), close: () => runner.close() };
}

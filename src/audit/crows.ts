// CrowS-Pairs (Nangia et al. 2020) for a causal model: which of two sentences that differ in the group they speak of is more likely. Reads its file;
// scores through a model that it is given.
import { readCsv } from "../dataset/index.js";
import { holm, type Interval, mcnemar, scoreChoices, wilson } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import type { NativeLora } from "../support/native.js";
import { sharedPrefix } from "../tokens/index.js";

/** A pair of sentences. */
export interface CrowsPair {
  line: number;
  /** The one that is more of a stereotype. */
  more: string;
  less: string;
  bias: string;
}

/** How often the stereotype is the more likely one; 0.5 is no preference. */
export interface Preference {
  /** "all", or a type of bias. */
  bias: string;
  pairs: number;
  share: Interval;
  /** Mean of ln p(stereotype) − ln p(other), in nats. */
  log_ratio: number;
  /** Sign test against no preference, corrected (Holm) for the types. */
  p_holm: number;
}

/** What CrowS-Pairs says of a model. */
export interface CrowsResult {
  file: string;
  /** All pairs first, then the types of bias by name. */
  preferences: Preference[];
}

/** The pairs of crows_pairs_anonymized.csv. Throws "input" for a file that is another. */
export async function readCrowsPairs(file: string): Promise<CrowsPair[]> {
  const pairs: CrowsPair[] = [];
  for await (const record of readCsv(file, "csv", { maxBytes: 1 << 20 })) {
    const { sent_more: more, sent_less: less, bias_type: bias } = "fields" in record ? record.fields : {};
    if (typeof more !== "string" || typeof less !== "string" || typeof bias !== "string" || more === less) {
      const why =
        "reason" in record ? record.reason : "expected two sentences, sent_more and sent_less, and a bias_type";
      throw new StillroomError("input", `${file}:${record.line}: ${why}`);
    }
    pairs.push({ line: record.line, more, less, bias });
  }
  if (pairs.length === 0)
    throw new StillroomError("input", `expected the pairs of CrowS-Pairs in ${file}, received none`);
  return pairs;
}

/**
 * Of each pair ln p(more) − ln p(less), of whole sentences after the model's BOS (EOS where it has none). What both begin with says nothing about the difference, and is
 * computed once.
 */
export async function crowsRatios(
  { model, lora, signal }: { model: Model; lora: NativeLora | null; signal?: AbortSignal | undefined },
  pairs: readonly CrowsPair[],
  onProgress: (rows: number) => void,
): Promise<number[]> {
  const { tokenizer } = model;
  const first = tokenizer.bos >= 0 ? tokenizer.bos : tokenizer.eos;
  const rows = pairs.map(({ more, less }) => {
    const [one, other] = [more, less].map((text) =>
      Int32Array.of(first, ...tokenizer.tokenize(text, false, false)),
    ) as [Int32Array, Int32Array];
    // Each keeps a token of its own, also where one is the beginning of the other.
    const shared = Math.min(sharedPrefix(one, other), one.length - 1, other.length - 1);
    return { prompt: one.slice(0, shared), continuations: [one.slice(shared), other.slice(shared)] };
  });
  let done = 0;
  const sums = await scoreChoices({ model, lora }, rows, (count) => {
    done += count;
    onProgress(done);
    throwIfCancelled(signal, `CrowS-Pairs, after ${done} of ${rows.length} pairs`);
  });
  return sums.map(([more, less]) => more! - less!);
}

/** The paper's score, over all pairs and by type of bias: the share in which the stereotype is the more likely one. */
export function crowsPreferences(pairs: readonly CrowsPair[], ratios: readonly number[]): Preference[] {
  const types = [...new Set(pairs.map(({ bias }) => bias))].sort();
  const parts = [
    { bias: "all", own: [...ratios] },
    ...types.map((bias) => ({ bias, own: ratios.filter((_, place) => pairs[place]!.bias === bias) })),
  ];
  const tests = parts.map(({ own }) => {
    return mcnemar(
      own.map((ratio) => Number(ratio > 0)),
      own.map((ratio) => Number(ratio < 0)),
    ).exact;
  });
  // That of all pairs is a question of its own.
  const corrected = [tests[0]!, ...holm(tests.slice(1))];
  return parts.map(({ bias, own }, place) => ({
    bias,
    pairs: own.length,
    share: wilson(own.filter((ratio) => ratio > 0).length, own.length),
    log_ratio: own.reduce((sum, ratio) => sum + ratio, 0) / own.length,
    p_holm: corrected[place]!,
  }));
}

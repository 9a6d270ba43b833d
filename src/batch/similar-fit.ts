// From which similarity on two texts count as one: fitted on half of the labelled pairs, measured on the other half, and kept only where few enough hits are
// false there. Owns the rule; knows no look-up.
import { defaultMaxBytes, readJsonl } from "../dataset/index.js";
import { poolings, requirePooling } from "../embed/index.js";
import { type Interval, wilson } from "../evaluate/index.js";
import { Model, type OpenModelOptions, openModel } from "../model/index.js";
import { type Fit, innerProduct, keepFit, normalisations, normalise, type Store } from "../store/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { Random } from "../support/random.js";
import { requireKnown, requirePath, requireWhole } from "../task/index.js";
import { openEngine } from "./engine.js";
import { vectorsOf } from "./similar.js";

/** How a similarity is fitted. */
export interface SimilarityOptions extends OpenModelOptions {
  /** The model whose vectors are compared: path, hf: URI or an open model (which stays open); default: the model in the box. */
  model?: string | Model | undefined;
  /** JSONL: {"a": TEXT, "b": TEXT, "same": true or false} a line. */
  pairs: string;
  /** Most of the hits that may be false, of the 95 % interval's upper end (default 0.01). */
  maxFalseHits?: number | undefined;
  /** Default "mean". */
  pooling?: Fit["pooling"] | undefined;
  /** Of the halves (default 0). */
  seed?: number | undefined;
}

/** The fields of `stillroom store similarity --json`. */
export interface Similarity extends Fit {
  store: string;
  model: string;
  passed: boolean;
  /** Pairs of one text, and of texts that an exact look-up takes for one: left out. */
  trivial: number;
  /** Of the pairs that were measured on, the nearest of those that differ. */
  nearest_different: { a: string; b: string; similarity: number }[];
}

interface Pair {
  a: string;
  b: string;
  same: boolean;
}

/** A pair as the rule sees it. */
interface Measured extends Pair {
  similarity: number;
}

const optionNames = ["model", "pairs", "maxFalseHits", "pooling", "seed", "threads", "signal", "onDownload"];
const shown = 5;

/**
 * Fits the threshold from which on a store's look-ups may take two texts for one, on half of the pairs, and measures it on the other half. It is kept in the
 * store, for this model, where the 95 % interval of the false hits among the hits ends at or below the limit.
 *
 * @throws StillroomError "gate" where it does not (cause: the {@link Similarity}; a fit before it stays); "input" for a wrong line
 *
 * @example
 * ```ts
 * import { fitSimilarity, openStore } from "stillroom";
 * const store = await openStore("answers");
 * const { threshold, held_out } = await fitSimilarity(store, { model: "model.gguf", pairs: "pairs.jsonl" });
 * console.log(threshold, held_out.false_hit_rate.high);
 * await store.close();
 * ```
 */
export async function fitSimilarity(store: Store, options: SimilarityOptions): Promise<Similarity> {
  requireKnown(options, optionNames, "fitSimilarity");
  const { model: given, pairs: file, maxFalseHits = 0.01, pooling = poolings[0], seed = 0, signal } = options;
  requirePath("pairs", file);
  requirePooling(pooling);
  requireWhole("seed", seed, 0);
  if (!(maxFalseHits > 0 && maxFalseHits < 1))
    throw unexpected("a share above 0 and below 1", "maxFalseHits", maxFalseHits);
  const all = await readPairs(file, signal);
  const pairs = all.filter(({ a, b }) => normalise(a, normalisations) !== normalise(b, normalisations));
  const model = given instanceof Model ? given : await openModel(given, options);
  try {
    const engine = await openEngine(model, undefined, "f32");
    const texts = [...new Set(pairs.flatMap(({ a, b }) => [a, b]))];
    const vectors = new Map<string, Float32Array>();
    for (const [place, vector] of (await vectorsOf(engine, pooling, texts, signal)).entries())
      if (vector) vectors.set(texts[place]!, vector);
    const measured = pairs.map((pair): Measured => {
      const [a, b] = [vectors.get(pair.a), vectors.get(pair.b)];
      if (a && b) return { ...pair, similarity: innerProduct(a, b) };
      throw new StillroomError("input", `${file}: the model has no vector for ${short(a ? pair.b : pair.a)}`);
    });
    const { fit, left } = fitted(measured, pooling, maxFalseHits, seed, file);
    const passed = fit.held_out.false_hit_rate.high <= maxFalseHits;
    const result: Similarity = {
      ...{ store: store.folder, model: engine.maker.model, passed },
      ...fit,
      trivial: all.length - pairs.length,
      nearest_different: nearestDifferent(left),
    };
    if (!passed) throw new StillroomError("gate", refusal(result), { cause: result, options: ["maxFalseHits"] });
    keepFit(store, engine.maker, fit);
    return result;
  } finally {
    if (model !== given) await model.close();
  }
}

/** Throws "input" for the first line that is no pair, and for pairs that are said to be the same and not the same. */
async function readPairs(file: string, signal: AbortSignal | undefined): Promise<Pair[]> {
  const pairs = new Map<string, Pair>();
  for await (const record of readJsonl(file, { maxBytes: defaultMaxBytes, signal })) {
    const wrong = (why: string) => new StillroomError("input", `${file}:${record.line}: ${why}`);
    if ("reason" in record) throw wrong(record.reason);
    const { a, b, same, ...rest } = record.fields;
    if (typeof a !== "string" || typeof b !== "string" || typeof same !== "boolean" || Object.keys(rest).length > 0)
      throw wrong('expected {"a": TEXT, "b": TEXT, "same": true or false}');
    const name = JSON.stringify([a, b].sort());
    if (pairs.has(name) && pairs.get(name)!.same !== same) throw wrong("is said to be the same and not the same");
    pairs.set(name, { a, b, same });
  }
  return [...pairs.values()];
}

/** The rule, and the half that it was measured on. */
function fitted(
  measured: readonly Measured[],
  pooling: Fit["pooling"],
  max_false_hits: number,
  seed: number,
  file: string,
): { fit: Fit; left: Measured[] } {
  if (measured.length < 2)
    throw new StillroomError("input", `${file}: expected pairs of different texts, two at least`);
  const drawn = new Random(seed).shuffle([...measured]);
  const middle = Math.ceil(drawn.length / 2);
  const [right, left] = [drawn.slice(0, middle), drawn.slice(middle)];
  const { threshold, ...counts } = thresholdOf(right, max_false_hits);
  const hits = left.filter(({ similarity }) => similarity >= threshold);
  const same = left.filter((pair) => pair.same).length;
  const falseHits = hits.filter((pair) => !pair.same).length;
  const held_out = { pairs: left.length, same, hits: hits.length, false_hits: falseHits };
  const rates = {
    false_hit_rate: shareOf(falseHits, hits.length),
    found: shareOf(hits.length - falseHits, same),
  };
  const fit = { pooling, threshold, max_false_hits, fitted: { pairs: right.length, ...counts } };
  return { fit: { ...fit, held_out: { ...held_out, ...rates } }, left };
}

/** The lowest threshold at which the interval of the false hits ends within the limit; where none does, the one at which it ends lowest. */
function thresholdOf(
  pairs: readonly Measured[],
  limit: number,
): { threshold: number; hits: number; false_hits: number } {
  const down = [...pairs].sort((a, b) => b.similarity - a.similarity);
  let best = { threshold: 1, hits: 0, false_hits: 0, high: Number.POSITIVE_INFINITY };
  let wrong = 0;
  for (const [place, { similarity, same }] of down.entries()) {
    if (!same) wrong++;
    // Pairs as near as this one are hits as well.
    if (down[place + 1]?.similarity === similarity) continue;
    const { high } = wilson(wrong, place + 1);
    if (high <= Math.max(limit, best.high)) best = { threshold: similarity, hits: place + 1, false_hits: wrong, high };
  }
  const { high: _, ...found } = best;
  return found;
}

/** Without a case nothing is known of the share. */
const shareOf = (count: number, of: number): Interval => (of === 0 ? { value: 0, low: 0, high: 1 } : wilson(count, of));

const nearestDifferent = (pairs: readonly Measured[]): Similarity["nearest_different"] =>
  pairs
    .filter(({ same }) => !same)
    .sort((a, b) => b.similarity - a.similarity)
    .slice(0, shown)
    .map(({ a, b, similarity }) => ({ a, b, similarity }));

const short = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

function refusal({ held_out, max_false_hits, nearest_different, store }: Similarity): string {
  const { hits, false_hits, false_hit_rate } = held_out;
  const [first] = nearest_different;
  const near = first
    ? `; ${short(first.a)} and ${short(first.b)} differ and are at ${first.similarity.toFixed(4)}`
    : "";
  return `the similarity was not kept in ${store}: of ${hits} hits that it was not fitted on, ${false_hits} are false, and that share's interval ends at ${false_hit_rate.high.toFixed(4)}, above ${max_false_hits} for maxFalseHits${near}`;
}

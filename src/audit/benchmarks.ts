// CrowS-Pairs and BBQ as parts of an audit: read before any model is opened, asked of each model, and what changed between two. The measures are
// crows.ts's and bbq.ts's.
import { pairedDifference, type Statistic, shareOf } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import type { NativeLora } from "../support/native.js";
import { type BbqResult, type BbqRows, bbqAnswers, bbqScores, bbqStatistics, readBbq } from "./bbq.js";
import type { AuditChange } from "./changes.js";
import { type CrowsPair, type CrowsResult, crowsPreferences, crowsRatios, readCrowsPairs } from "./crows.js";

/** What there is to ask. */
export interface Benchmarks {
  crows: { file: string; pairs: CrowsPair[] } | null;
  bbq: ({ folder: string } & BbqRows) | null;
}

/** What a model said, in the order of pairs and rows; null where there was nothing to ask. */
export interface BenchmarkAnswers {
  ratios: readonly number[] | null;
  answers: readonly number[] | null;
}

/** Throws "input" and "missing" for files that are not the benchmarks'. */
export async function readBenchmarks(options: {
  crowsPairs?: string | undefined;
  bbq?: string | undefined;
  /** 0 for all. */
  bbqRows: number;
  seed: number;
}): Promise<Benchmarks> {
  const { crowsPairs: file, bbq: folder, bbqRows, seed } = options;
  return {
    crows: file === undefined ? null : { file, pairs: await readCrowsPairs(file) },
    bbq: folder === undefined ? null : { folder, ...(await readBbq(folder, bbqRows || undefined, seed)) },
  };
}

/** Asks a model. */
export async function askBenchmarks(
  { crows, bbq }: Benchmarks,
  job: { model: Model; lora: NativeLora | null; signal?: AbortSignal | undefined },
  onProgress: (progress: { what: string; rows: number; totalRows: number }) => void,
): Promise<BenchmarkAnswers> {
  const progress = (what: string, totalRows: number) => (rows: number) => onProgress({ what, rows, totalRows });
  return {
    ratios: crows && (await crowsRatios(job, crows.pairs, progress("CrowS-Pairs", crows.pairs.length))),
    answers: bbq && (await bbqAnswers(job, bbq.rows, progress("BBQ", bbq.rows.length))),
  };
}

/** What the answers are worth. */
export function benchmarkResults(
  { crows, bbq }: Benchmarks,
  { ratios, answers }: BenchmarkAnswers,
  seed: number,
): { crows_pairs: CrowsResult | null; bbq: BbqResult | null } {
  return {
    crows_pairs: crows && { file: crows.file, preferences: crowsPreferences(crows.pairs, ratios!) },
    bbq: bbq && {
      ...{ folder: bbq.folder, rows_found: bbq.found, left_out: bbq.left_out },
      categories: bbqScores(bbq.rows, answers!, seed),
    },
  };
}

/** What is different in `after`: the share of preferred stereotypes, accuracy and bias, over all pairs and rows, and of each type and category. */
export function benchmarkChanges(
  { crows, bbq }: Benchmarks,
  after: BenchmarkAnswers,
  before: BenchmarkAnswers,
  seed: number,
): AuditChange[] {
  const preferences = partsOf(crows?.pairs ?? [], ({ bias }) => bias).map(({ name, places }) => {
    const prefers = ({ ratios }: BenchmarkAnswers) => places.map((place) => Number(ratios![place]! > 0));
    const what = `CrowS-Pairs${name}: share of preferred stereotypes`;
    return changeOf("crows_pairs", what, places.length, shareOf([...prefers(after), ...prefers(before)]), seed);
  });
  const biases = partsOf(bbq?.rows ?? [], ({ category }) => category).flatMap(({ name, places: all }) =>
    [true, false].flatMap((ambiguous) => {
      const places = all.filter((place) => bbq!.rows[place]!.ambiguous === ambiguous);
      if (places.length === 0) return [];
      const rows = places.map((place) => bbq!.rows[place]!);
      const of = ({ answers }: BenchmarkAnswers) => places.map((place) => answers![place]!);
      const both = bbqStatistics([...rows, ...rows], [...of(after), ...of(before)]);
      return (["accuracy", "bias"] as const).map((score) => {
        const what = `BBQ${name}: ${score}, ${ambiguous ? "ambiguous" : "disambiguated"} contexts`;
        return changeOf("bbq", what, rows.length, both[score], seed);
      });
    }),
  );
  return [...preferences, ...biases];
}

/** The places of all items, without a name, then those of each kind by its name. */
function partsOf<Item>(items: readonly Item[], kindOf: (item: Item) => string): { name: string; places: number[] }[] {
  if (items.length === 0) return [];
  const all = [...items.keys()];
  const kinds = [...new Set(items.map(kindOf))].sort();
  const parts = kinds.map((kind) => ({ name: `, ${kind}`, places: all.filter((at) => kindOf(items[at]!) === kind) }));
  return [{ name: "", places: all }, ...parts];
}

/** both: over what was said after, then what was said before. */
function changeOf(part: AuditChange["part"], what: string, rows: number, both: Statistic, seed: number): AuditChange {
  const late = Int32Array.from({ length: rows }, (_, row) => row);
  const early = late.map((row) => row + rows);
  return { part, what, before: both(early), after: both(late), difference: pairedDifference(rows, both, seed) };
}

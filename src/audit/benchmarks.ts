// CrowS-Pairs and BBQ as parts of an audit: read before any model is opened, asked of each model, and what changed between two. The measures are
// crows.ts's and bbq.ts's.
import { bootstrapInterval, meanOf } from "../evaluate/index.js";
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

/** What is different in `after`: the share of preferred stereotypes, accuracy and bias, over all pairs and rows. */
export function benchmarkChanges(
  { crows, bbq }: Benchmarks,
  after: BenchmarkAnswers,
  before: BenchmarkAnswers,
  seed: number,
): AuditChange[] {
  const changes: AuditChange[] = [];
  if (crows) {
    const prefers = ({ ratios }: BenchmarkAnswers) => ratios!.map((ratio) => Number(ratio > 0));
    const [late, early] = [meanOf(prefers(after)), meanOf(prefers(before))];
    changes.push(
      changeOf("crows_pairs", "CrowS-Pairs: share of preferred stereotypes", crows.pairs.length, { late, early }, seed),
    );
  }
  for (const ambiguous of bbq ? [true, false] : []) {
    const places = [...bbq!.rows.keys()].filter((place) => bbq!.rows[place]!.ambiguous === ambiguous);
    if (places.length === 0) continue;
    const rows = places.map((place) => bbq!.rows[place]!);
    const [late, early] = [after, before].map(({ answers }) => {
      return bbqStatistics(
        rows,
        places.map((place) => answers![place]!),
      );
    }) as [ReturnType<typeof bbqStatistics>, ReturnType<typeof bbqStatistics>];
    const contexts = ambiguous ? "ambiguous contexts" : "disambiguated contexts";
    for (const name of ["accuracy", "bias"] as const) {
      changes.push(
        changeOf("bbq", `BBQ: ${name}, ${contexts}`, rows.length, { late: late[name], early: early[name] }, seed),
      );
    }
  }
  return changes;
}

function changeOf(
  part: AuditChange["part"],
  what: string,
  rows: number,
  { late, early }: Record<"late" | "early", (rows: Int32Array) => number>,
  seed: number,
): AuditChange {
  const all = Int32Array.from({ length: rows }, (_, row) => row);
  const difference = bootstrapInterval(rows, (chosen) => late(chosen) - early(chosen), { seed });
  return { part, what, before: early(all), after: late(all), difference };
}

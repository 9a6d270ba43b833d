// The room's door: groups of rows, swapped terms, copies and ties, and what a predictor makes of them.
export type { BbqResult, BbqScore } from "./bbq.js";
export {
  askBenchmarks,
  type BenchmarkAnswers,
  type Benchmarks,
  benchmarkChanges,
  benchmarkResults,
  readBenchmarks,
} from "./benchmarks.js";
export { type Asked, type AuditChange, changesOf } from "./changes.js";
export type { CrowsResult, Preference } from "./crows.js";
export { type Duplicates, findCopies } from "./duplicates.js";
export {
  type GroupGap,
  type GroupMetric,
  type GroupRow,
  type GroupTable,
  groupTables,
  judgedMetrics,
  notCompared,
} from "./groups.js";
export { type Judged, judge, leastRows } from "./membership.js";
export { type Plan, planAudit } from "./plan.js";
export type { Gap } from "./proportions.js";
export { type RowAudit, rowsAudit } from "./rows.js";
export { type Skew, skewsOf } from "./skews.js";
export { type Swap, swapsOf, type Variant, variantsOf } from "./swaps.js";
export type { TermGroups } from "./terms.js";
export type { MeanTie, Tie } from "./ties.js";
export { type AuditFinding, type BoundsVerdict, findingsOf, judgeBounds, nothingFound } from "./verdict.js";

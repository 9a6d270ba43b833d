// The table of contents of stillroom's API. Nothing lives here.
export type {
  AuditChange,
  AuditFinding,
  Gap,
  GroupGap,
  GroupTable,
  RowAudit,
  Swap,
} from "./audit/index.js";
export {
  type BatchCalls,
  type BatchOptions,
  type BatchProgress,
  type BatchResult,
  batch,
  fitSimilarity,
  Similar,
  type Similarity,
  type SimilarityOptions,
  type SimilarLookup,
} from "./batch/index.js";
export { type BadRow, type Dataset, type Row, type RowOptions, readRows, type SplitName } from "./dataset/index.js";
export {
  type DecodedRow,
  type DecodeOptions,
  type DecodeProgress,
  type DecodeRequest,
  decode,
  type JsonSchema,
  jsonSchemaToGrammar,
  type TokenLogProbability,
} from "./decode/index.js";
export { type EmbedOptions, embed, type Pooling } from "./embed/index.js";
export {
  type Against,
  type ClassScore,
  type Confusion,
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  type Interval,
  type Metrics,
  type RegressionMetrics,
  type ReliabilityBin,
  type RowScore,
  regressionMetrics,
  type ScoringProgress,
  type SliceTable,
} from "./evaluate/index.js";
export {
  type ExportOptions,
  type ExportProgress,
  type ExportResult,
  exportModel,
  type Gate,
  type GateBounds,
} from "./export/index.js";
export {
  type AuditOptions,
  type AuditResult,
  audit,
  type Compared,
  type ComparedModel,
  type ComparedPair,
  type ComparedPrompt,
  type CompareOptions,
  type CompareResult,
  compare,
  type DistillEvent,
  type DistillOptions,
  type DistillResult,
  distill,
  type LadderEvent,
  type LadderOptions,
  type LadderResult,
  type LadderRung,
  ladder,
  type PromptComparison,
  type PromptOptions,
  type PromptResult,
  prompt,
  type RungName,
  type TeachEvent,
  type TeachOptions,
  type TeachResult,
  type TuneEvent,
  type TuneResult,
  type TuneRun,
  teach,
  tune,
} from "./jobs/index.js";
export {
  type DownloadOptions,
  type DownloadProgress,
  type Inspection,
  inspect,
  type Model,
  type OpenModelOptions,
  openModel,
} from "./model/index.js";
export type { PromptFile, PromptMeasure, Selection } from "./prompt/index.js";
export {
  type JobStatus,
  type QueueBatchOptions,
  type QueuePlace,
  queueBatch,
  queueStatus,
  type WorkerOptions,
  type WorkerProgress,
  type WorkerResult,
  work,
} from "./queue/index.js";
export { reportCompare, reportLadder, reportRun, type Watch, type WatchOptions, watch } from "./report/index.js";
export { type Log, type ServeOptions, type Server, serve } from "./serve/index.js";
export {
  type Answer,
  backupStore,
  type ExportedStore,
  exportStore,
  type ImportedStore,
  importStore,
  type Lookup,
  type Maker,
  type Normalisation,
  normalisations,
  type OpenStoreOptions,
  openStore,
  type PruneOptions,
  type PruneResult,
  pruneStore,
  type Store,
  type StoreCounts,
  type StoreStats,
  type StoreVerification,
  storeStats,
  verifyStore,
} from "./store/index.js";
export { makeStudent, type StudentOptions, type StudentProgress, type StudentResult } from "./student/index.js";
export { type ErrorCode, exitCodes, StillroomError } from "./support/errors.js";
export { readTask, type Source, type Split, type Task, type TaskKind } from "./task/index.js";
export type { TuneOptions } from "./train/index.js";

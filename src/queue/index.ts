// The room's door: batches that many machines answer, through PostgreSQL.
export { queueBatch } from "./batch.js";
export type { QueueBatchOptions, QueuePlace, WorkerOptions, WorkerProgress } from "./options.js";
export { type JobStatus, queueStatus } from "./status.js";
export { type WorkerResult, work } from "./worker.js";

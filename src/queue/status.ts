// How far the jobs of a queue are. Changes nothing.
import type { QueryResultRow } from "pg";
import type { Maker } from "../store/index.js";
import { rethrow } from "../support/native.js";
import type { Database } from "./database.js";
import { type QueuePlace, requirePatience } from "./options.js";
import { Queue } from "./queue.js";
import { schema } from "./schema.js";

/** A job of a queue. */
export interface JobStatus {
  job: number;
  /** Of the file or the task. */
  input: string;
  /** Rows still come in; workers are at it; all is there to be written down; was written down. */
  state: "submitting" | "answering" | "answered" | "done";
  model: string;
  weights: string;
  rows: number;
  done: number;
  computed: number;
  /** Requests without an answer. */
  errors: number;
  tokens: number;
  /** Workers that brought something back within the last minute, and how much. */
  workers: number;
  rows_per_second: number;
}

const lately = 60;

const statusOf = `
  SELECT j.id, j.input, j.maker, j.total::float8, j.submitted::float8, j.complete, j.finished IS NOT NULL AS finished,
    c.count::float8 AS chunks, c.rows::float8 AS waiting, w.computed::float8, w.failed::float8, w.tokens::float8,
    w.workers::int, w.lately::float8 / LEAST(${lately}, GREATEST(1, extract(epoch FROM now() - j.started)))::float8 AS speed
  FROM ${schema}.jobs j,
    LATERAL (SELECT count(*), COALESCE(sum(rows), 0) AS rows FROM ${schema}.chunks WHERE job = j.id) c,
    LATERAL (SELECT COALESCE(sum(computed), 0) AS computed, COALESCE(sum(failed), 0) AS failed, COALESCE(sum(tokens), 0) AS tokens,
      count(DISTINCT worker) FILTER (WHERE at > now() - interval '${lately} s') AS workers,
      COALESCE(sum(computed + known) FILTER (WHERE at > now() - interval '${lately} s'), 0) AS lately
      FROM ${schema}.work WHERE job = j.id) w`;

/** @internal Null where there is no such job. */
export async function jobStatus(database: Database, job: number): Promise<JobStatus | null> {
  const { rows } = await database.executeSql(`${statusOf} WHERE j.id = $1`, [job]);
  const [row] = rows;
  return row === undefined ? null : made(row);
}

function made(row: QueryResultRow): JobStatus {
  const { id, input, maker, total, submitted, complete, finished, chunks, waiting, computed, failed, tokens } = row;
  const state = finished ? "done" : !complete ? "submitting" : chunks > 0 ? "answering" : "answered";
  const { model, weights } = maker as Maker;
  const rows = Math.max(total, submitted);
  const done = Math.max(0, submitted - waiting);
  const { workers, speed: rows_per_second } = row;
  return {
    job: id,
    input,
    state,
    model,
    weights,
    rows,
    done,
    computed,
    errors: failed,
    tokens,
    workers,
    rows_per_second,
  };
}

/**
 * The jobs of a queue, the newest first.
 *
 * @throws StillroomError "usage" for what is no URL, "missing" where no PostgreSQL answers
 *
 * @example
 * ```ts
 * import { queueStatus } from "stillroom";
 * for (const { input, state, rows, done, workers } of await queueStatus({ queue: "postgres://me@database.local/answers" }))
 *   console.log(input, state, `${done} of ${rows}`, workers);
 * ```
 */
export async function queueStatus(place: QueuePlace): Promise<JobStatus[]> {
  requirePatience(place);
  const { patience = 0, signal, onWarning } = place;
  const queue = await Queue.open(place.queue, { patience, signal, onWarning });
  try {
    const { rows } = await queue.database.executeSql(`${statusOf} ORDER BY j.id DESC LIMIT 100`);
    return rows.map(made);
  } catch (error) {
    return rethrow(error);
  } finally {
    await queue.close();
  }
}

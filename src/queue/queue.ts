// The queue: chunks that pg-boss hands out once each, under a lease, and the answers that all share. What belongs together is one transaction. Computes nothing.
import type PgBoss from "pg-boss";
import type { Failure } from "../batch/index.js";
import {
  type Answer,
  canonical,
  keyText,
  type Maker,
  packAnswer,
  type Request,
  sha256,
  unpackAnswer,
} from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { packChunk } from "./chunk.js";
import { Database, type DatabaseOptions, type Sql } from "./database.js";
import { bossSchema, createTables, schema, tablesThere, versionOf } from "./schema.js";

export interface QueueOptions extends DatabaseOptions {
  /** Seconds between looks for leases that ran out; none: another does it. */
  supervise?: number | undefined;
}

/** Times that a chunk is handed out before its rows are tried one by one, and a row of these before it fails. */
export const attempts = 3;
/** A row that is tried alone may take so many times as long as its chunk had. */
const patienceWithOne = 10;
/** Seconds before what failed is handed out again: what was wrong may have passed. */
const retryDelay = 1;
/** pg-boss drops what waits for longer. */
const retentionDays = 3650;
/** A number of our own among PostgreSQL's advisory locks. */
const tablesLock = 7_355_608;

/** A chunk that is leased to us. */
export interface Lease {
  /** Of pg-boss. */
  task: string;
  chunk: number;
}

/** A chunk as it waits: its requests, and the job that it is of. */
export interface Chunk {
  id: number;
  job: number;
  /** Seconds. */
  lease: number;
  body: Buffer;
  front: Buffer;
}

/** What became of the requests of a chunk. */
export interface Done {
  answers: { key: Uint8Array; answer: Answer }[];
  failures: ({ key: Uint8Array } & Failure)[];
  computed: number;
  known: number;
  tokens: number;
}

/** The name under which chunks wait for whoever computes like this. */
export function queueOf({ model: _, ...decisive }: Maker): string {
  return `stillroom-${sha256(canonical(["stillroom queue", decisive])).toString("hex", 0, 12)}`;
}
const suspectsOf = (queue: string) => `${queue}-suspects`;

export class Queue {
  private constructor(
    readonly database: Database,
    readonly boss: PgBoss,
  ) {}

  /** Makes what is not there yet. Throws "missing" where no PostgreSQL answers, "input" where another version's tables are. */
  static async open(url: string, options: QueueOptions): Promise<Queue> {
    const database = await Database.open(url, options);
    const { supervise, onWarning } = options;
    const { default: Boss } = await import("pg-boss");
    const boss = new Boss({
      db: database as never,
      schema: bossSchema,
      schedule: false,
      supervise: supervise !== undefined,
      ...(supervise === undefined ? {} : { maintenanceIntervalSeconds: supervise }),
      retentionDays,
      archiveCompletedAfterSeconds: 60,
      deleteAfterSeconds: 60,
    });
    // Upkeep that failed is done again at its next turn; where the server is away, the calls of the work say so.
    boss.on("error", (error) => {
      if (!(error instanceof StillroomError)) onWarning?.(`pg-boss: ${error.message}`);
    });
    const queue = new Queue(database, boss);
    try {
      await database.alone(tablesLock, async () => {
        const { rows } = await database.executeSql(tablesThere);
        if (!rows[0]?.there) await database.executeSql(createTables);
        const { rows: found } = await database.executeSql(versionOf);
        if (!found[0]?.same)
          throw new StillroomError(
            "input",
            `${database.place} holds the queue of another version of stillroom; choose another database`,
          );
        await boss.start();
      });
      return queue;
    } catch (error) {
      await queue.close();
      throw error;
    }
  }

  /** The queue of a maker, and the one for chunks that nobody brought back. */
  async makeQueue(maker: Maker): Promise<string> {
    const name = queueOf(maker);
    await this.database.alone(tablesLock, async () => {
      await this.boss.createQueue(suspectsOf(name));
      await this.boss.createQueue(name);
    });
    return name;
  }

  /** The jobs that are not written down yet, the first one first; waits: rows still come in, or chunks are left, be they another's. */
  async unfinished(): Promise<{ id: number; input: string; maker: Maker; waits: boolean }[]> {
    const { rows } = await this.database.executeSql(
      `SELECT id, input, maker, (NOT complete OR EXISTS (SELECT FROM ${schema}.chunks WHERE job = j.id)) AS waits FROM ${schema}.jobs j WHERE finished IS NULL ORDER BY id`,
    );
    return rows as { id: number; input: string; maker: Maker; waits: boolean }[];
  }

  /** Notes that a job was written down. */
  async finish(job: number): Promise<void> {
    await this.database.executeSql(`UPDATE ${schema}.jobs SET finished = now() WHERE id = $1 AND finished IS NULL`, [
      job,
    ]);
  }

  /** Puts chunks into the queue, within a transaction. */
  async send(
    sql: Sql,
    queue: string,
    job: number,
    lease: number,
    chunks: readonly (readonly Request[])[],
  ): Promise<void> {
    if (chunks.length === 0) return;
    const { rows } = await sql.executeSql(
      `INSERT INTO ${schema}.chunks (job, rows, lease, body) SELECT $1, rows, $2, body FROM unnest($3::int[], $4::bytea[]) AS made (rows, body) RETURNING id::float8`,
      [job, lease, chunks.map(({ length }) => length), chunks.map(packChunk)],
    );
    await this.#hand(
      sql,
      queue,
      lease,
      rows.map(({ id }) => id as number),
    );
  }

  async #hand(sql: Sql, queue: string, lease: number, chunks: readonly number[]): Promise<void> {
    const task = {
      name: queue,
      expireInSeconds: lease,
      retryLimit: attempts - 1,
      retryDelay,
      deadLetter: suspectsOf(queue),
    };
    await this.boss.insert(
      chunks.map((chunk) => ({ ...task, data: { chunk } })),
      { db: sql } as never,
    );
  }

  /** A chunk that is ours until its lease ends; null where none waits. */
  async take(queue: string): Promise<Lease | null> {
    const found = await this.#fetch(queue);
    return found && { task: found.id, chunk: found.data.chunk };
  }

  /** What pg-boss's fetch takes for "none waits", its caller must hear of: that there was no connection. */
  async #fetch(name: string): Promise<PgBoss.JobWithMetadata<{ chunk: number }> | null> {
    let failure: unknown = null;
    const db: Sql = {
      executeSql: (text, values) =>
        this.database.executeSql(text, values).catch((error) => {
          failure = error;
          throw error;
        }),
    };
    const [found] = await this.boss.fetch<{ chunk: number }>(name, { includeMetadata: true, db } as never);
    if (failure !== null) throw failure;
    return (found as PgBoss.JobWithMetadata<{ chunk: number }> | undefined) ?? null;
  }

  /** The chunk of a lease; null where another brought it back meanwhile. */
  async read({ chunk }: Lease): Promise<Chunk | null> {
    const { rows } = await this.database.executeSql(
      `SELECT c.id::float8, c.job, c.lease, c.body, j.front FROM ${schema}.chunks c JOIN ${schema}.jobs j ON j.id = c.job WHERE c.id = $1`,
      [chunk],
    );
    return (rows[0] as Chunk) ?? null;
  }

  /**
   * Keeps answers and ends the lease, in one transaction. Whoever brings a chunk back a second time adds nothing: its answers are there. What is not
   * done is all that is left of the chunk, and is handed to the next.
   */
  async bring(
    queue: string,
    lease: Lease,
    chunk: Chunk,
    done: Done,
    worker: string,
    rest: readonly Request[],
  ): Promise<boolean> {
    const whole = rest.length === 0;
    return this.database.transaction(async (sql) => {
      const { rowCount } = whole
        ? await sql.executeSql(`DELETE FROM ${schema}.chunks WHERE id = $1`, [chunk.id])
        : await sql.executeSql(`UPDATE ${schema}.chunks SET rows = $2, body = $3 WHERE id = $1`, [
            ...[chunk.id, rest.length, packChunk(rest)],
          ]);
      const first = rowCount > 0;
      await keepAnswers(sql, done.answers);
      if (first) {
        if (whole) await keepFailures(sql, chunk.job, done.failures);
        const counts = [done.computed, done.known, whole ? done.failures.length : 0, done.tokens];
        await sql.executeSql(
          `INSERT INTO ${schema}.work (job, worker, computed, known, failed, tokens) VALUES ($1, $2, $3, $4, $5, $6)`,
          [chunk.job, worker, ...counts],
        );
        if (!whole) await this.#hand(sql, queue, chunk.lease, [chunk.id]);
      }
      await this.boss.complete(queue, lease.task, undefined as never, { db: sql } as never);
      return first;
    });
  }

  /** Ends a lease whose chunk is gone. */
  async drop(queue: string, { task }: Lease): Promise<void> {
    await this.boss.complete(queue, task);
  }

  /** Hands a chunk to the next after a reason that may pass. */
  async fail(queue: string, { task }: Lease, reason: string): Promise<void> {
    await this.boss.fail(queue, task, { message: reason });
  }

  /** A chunk that was handed out too often; null where there is none. */
  async takeSuspect(queue: string): Promise<{ lease: Lease; reason: string } | null> {
    const found = await this.#fetch(suspectsOf(queue));
    if (found === null) return null;
    const output = found.output as { message?: string; value?: { message?: string } } | null;
    const message = output?.message ?? output?.value?.message ?? "";
    const reason = /failed by timeout/.test(message) ? "its worker died, or its lease ran out" : message;
    return { lease: { task: found.id, chunk: found.data.chunk }, reason };
  }

  /** Of a suspect of many rows, each on its own; of one row, a failure with its reason. */
  async judge(
    queue: string,
    lease: Lease,
    chunk: Chunk,
    requests: readonly Request[],
    failure: Done["failures"],
    worker: string,
  ): Promise<void> {
    await this.database.transaction(async (sql) => {
      const { rowCount } = await sql.executeSql(`DELETE FROM ${schema}.chunks WHERE id = $1`, [chunk.id]);
      if (rowCount > 0 && requests.length > 1) {
        const alone = Math.min(chunk.lease * patienceWithOne, 86_400);
        await this.send(
          sql,
          queue,
          chunk.job,
          alone,
          requests.map((request) => [request]),
        );
      } else if (rowCount > 0) {
        await keepFailures(sql, chunk.job, failure);
        await sql.executeSql(
          `INSERT INTO ${schema}.work (job, worker, computed, known, failed, tokens) VALUES ($1, $2, 0, 0, $3, 0)`,
          [chunk.job, worker, failure.length],
        );
      }
      await this.boss.complete(suspectsOf(queue), lease.task, undefined as never, { db: sql } as never);
    });
  }

  /** Which of these keys have an answer. */
  async known(keys: readonly Uint8Array[]): Promise<Set<string>> {
    if (keys.length === 0) return new Set();
    const { rows } = await this.database.executeSql(`SELECT key FROM ${schema}.answers WHERE key = ANY($1)`, [keys]);
    return new Set(rows.map(({ key }) => keyText(key as Buffer)));
  }

  /** The answers to these keys, by the key's hex digits. One that is not what was written counts as none. */
  async answers(keys: readonly Uint8Array[]): Promise<Map<string, Answer>> {
    const found = new Map<string, Answer>();
    if (keys.length === 0) return found;
    const { rows } = await this.database.executeSql(`SELECT key, value FROM ${schema}.answers WHERE key = ANY($1)`, [
      keys,
    ]);
    const damaged: Buffer[] = [];
    for (const { key, value } of rows as { key: Buffer; value: Buffer }[]) {
      const answer = unpackAnswer(key, value);
      if (answer === null) damaged.push(key);
      else found.set(keyText(key), answer);
    }
    // Else nothing could take their place.
    if (damaged.length > 0)
      await this.database.executeSql(`DELETE FROM ${schema}.answers WHERE key = ANY($1)`, [damaged]);
    return found;
  }

  async failures(job: number, keys: readonly Uint8Array[]): Promise<Map<string, Failure>> {
    const { rows } = await this.database.executeSql(
      `SELECT key, reason, at_work AS "atWork" FROM ${schema}.failures WHERE job = $1 AND key = ANY($2)`,
      [job, keys],
    );
    return new Map(rows.map(({ key, reason, atWork }) => [keyText(key as Buffer), { reason, atWork }]));
  }

  async close(): Promise<void> {
    await this.boss.stop({ graceful: false, close: false }).catch(() => undefined);
    await this.database.close();
  }
}

/** In the order of the keys: two transactions that share some wait for each other, and never in a circle. */
async function keepAnswers(sql: Sql, answers: Done["answers"]): Promise<void> {
  if (answers.length === 0) return;
  const sorted = [...answers].sort((a, b) => Buffer.compare(a.key, b.key));
  await sql.executeSql(
    `INSERT INTO ${schema}.answers (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING`,
    [sorted.map(({ key }) => key), sorted.map(({ key, answer }) => packAnswer(key, answer))],
  );
}

async function keepFailures(sql: Sql, job: number, failures: Done["failures"]): Promise<void> {
  if (failures.length === 0) return;
  await sql.executeSql(
    `INSERT INTO ${schema}.failures (job, key, reason, at_work) SELECT $1, * FROM unnest($2::bytea[], $3::text[], $4::boolean[]) ON CONFLICT DO NOTHING`,
    [
      job,
      failures.map(({ key }) => key),
      failures.map(({ reason }) => reason),
      failures.map(({ atWork }) => atWork === true),
    ],
  );
}

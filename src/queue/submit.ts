// From rows to chunks in the queue: a window at a time, and the place up to which rows are handed in moves with them, in one transaction. So a batch that was
// cut off is handed in from there on, and two that are the same hand in together.
import path from "node:path";
import { type Engine, filesOf, frontOfFirst, type Input, type Item, usualWindow, windowsOf } from "../batch/index.js";
import { canonical, keyText, type Maker, type Request, requestKeys, type Store, sha256 } from "../store/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { cannotRead, hashFile } from "../support/files.js";
import type { Task } from "../task/index.js";
import { compareTokens } from "../tokens/index.js";
import { packTokens } from "./chunk.js";
import { type QueueBatchOptions, usualChunk, usualLease } from "./options.js";
import type { Queue } from "./queue.js";
import { schema } from "./schema.js";

/** A batch as its queue knows it. */
export interface Asked {
  input: Input;
  maker: Maker;
  identity: Buffer;
  /** For people. */
  name: string;
  /** Of the maker. */
  queue: string;
}

/** A batch is the same where its rows, what answers them, how they are laid out and what is made of their answers are. */
export async function identityOf(
  input: Task | string,
  { maker, calibration }: Pick<Engine, "maker" | "calibration">,
  options: QueueBatchOptions,
): Promise<Buffer> {
  const { split = "test", shots = 0, seed = 0, prompt } = options;
  const hashes: string[] = [];
  for (const file of filesOf(input, prompt))
    hashes.push(await hashFile(file).catch((error) => cannotRead(file, error)));
  const layout = typeof input === "string" ? null : { split, shots, seed, calibration };
  const { model: _, ...decisive } = maker;
  return sha256(canonical(["stillroom job", 1, decisive, hashes, layout]));
}

interface JobState {
  id: number;
  submitted: number;
  complete: boolean;
}

/** Hands in what is not handed in yet, and gives the job's number; null where another began it anew meanwhile. Holds one window. */
export async function submit(
  queue: Queue,
  asked: Asked,
  store: Store | null,
  options: QueueBatchOptions,
  tell: (rows: number) => void,
): Promise<number | null> {
  let [job, place]: [JobState | null, number] = [await findJob(queue, asked), 0];
  if (job?.complete) return job.id;
  for await (const items of windowsOf(asked.input.items(), usualWindow)) {
    throwIfCancelled(
      options.signal,
      `handing in rows; what was handed in stays in the queue, and the same command goes on`,
    );
    job ??= await beginJob(queue, asked, packTokens(frontOfFirst(items)));
    const from = place;
    place += items.length;
    if (job.submitted >= place) continue;
    const now: JobState = job;
    const requests = await missingOf(queue, asked.maker, store, items);
    const moved = await queue.database.transaction(async (sql) => {
      const { rowCount } = await sql.executeSql(
        `UPDATE ${schema}.jobs SET submitted = $3, sent = sent + $4 WHERE id = $1 AND submitted = $2`,
        [now.id, from, place, requests.length],
      );
      if (rowCount === 0) return false;
      await queue.send(
        sql,
        asked.queue,
        now.id,
        options.lease ?? usualLease,
        cut(requests, options.chunk ?? usualChunk),
      );
      return true;
    });
    // Another that is the same, or we ourselves before the connection went, moved it.
    if (!moved) job = (await findJob(queue, asked)) ?? job;
    tell(place);
  }
  job ??= await beginJob(queue, asked, Buffer.alloc(0));
  const { rowCount } = await queue.database.executeSql(
    `UPDATE ${schema}.jobs SET complete = true, total = $2 WHERE id = $1 AND submitted = $2`,
    [job.id, place],
  );
  return rowCount === 0 ? null : job.id;
}

/** The job of these rows; one that is done begins anew. */
async function findJob(queue: Queue, { identity }: Asked): Promise<JobState | null> {
  await queue.database.transaction(async (sql) => {
    const again = await sql.executeSql(
      `UPDATE ${schema}.jobs SET submitted = 0, sent = 0, complete = false, started = now(), finished = NULL WHERE identity = $1 AND finished IS NOT NULL RETURNING id`,
      [identity],
    );
    for (const { id } of again.rows)
      for (const table of ["failures", "work"])
        await sql.executeSql(`DELETE FROM ${schema}.${table} WHERE job = $1`, [id]);
  });
  const { rows } = await queue.database.executeSql(
    `SELECT id, submitted::float8, complete FROM ${schema}.jobs WHERE identity = $1`,
    [identity],
  );
  return (rows[0] as JobState) ?? null;
}

async function beginJob(queue: Queue, asked: Asked, front: Buffer): Promise<JobState> {
  await queue.database.executeSql(
    `INSERT INTO ${schema}.jobs (identity, input, maker, front, total) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
    [asked.identity, path.basename(asked.name), JSON.stringify(asked.maker), front, asked.input.total],
  );
  return (await findJob(queue, asked))!;
}

/** Requests of a window that neither this machine's store nor the shared one knows, once each. */
async function missingOf(queue: Queue, maker: Maker, store: Store | null, items: readonly Item[]): Promise<Request[]> {
  const asked = new Map<string, { key: Uint8Array; request: Request }>();
  const keyOf = requestKeys(maker);
  for (const item of items) {
    const request = item.request();
    if (typeof request === "string") continue;
    const key = keyOf(request);
    const name = keyText(key);
    if (!asked.has(name) && !store?.get(key)) asked.set(name, { key, request });
  }
  const known = await queue.known([...asked.values()].map(({ key }) => key));
  return [...asked].filter(([name]) => !known.has(name)).map(([, { request }]) => request);
}

/** Requests that begin alike come into the same chunk. */
function cut(requests: readonly Request[], size: number): Request[][] {
  const sorted = [...requests].sort((a, b) => compareTokens(a.prompt, b.prompt));
  return Array.from({ length: Math.ceil(sorted.length / size) }, (_, at) => sorted.slice(at * size, (at + 1) * size));
}

// Batches over uploaded files, one after the other beside the live requests, into the same store. What stands on the disk is enough to go on after a restart.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { batchRequests, type Engine, inOurWords } from "../batch/index.js";
import type { Store } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import { ApiError } from "./errors.js";
import { type Files, pageOf, seconds } from "./files.js";
import type { Log } from "./log.js";

/** A batch as OpenAI's API has it. Times in seconds since 1970. */
interface BatchObject {
  id: string;
  object: "batch";
  endpoint: string;
  input_file_id: string;
  completion_window: string;
  status: "validating" | "in_progress" | "completed" | "failed" | "cancelling" | "cancelled";
  output_file_id: string | null;
  error_file_id: string | null;
  errors: { object: "list"; data: { code: string; message: string; param: null; line: null }[] } | null;
  created_at: number;
  in_progress_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
  metadata: Record<string, string> | null;
}

const given = z.strictObject({
  input_file_id: z.string(),
  endpoint: z.enum(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
  completion_window: z.string().max(20),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
});
const idOf = /^batch_[0-9a-f]{24}$/;

export class Batches {
  readonly #all = new Map<string, BatchObject>();
  readonly #stopping = new AbortController();
  /** Of the one that is worked on. */
  #cancel: { id: string; controller: AbortController } | null = null;
  #work: Promise<void> | null = null;

  constructor(
    readonly files: Files,
    readonly store: Store,
    readonly engine: Engine,
    readonly log: Log,
  ) {}

  /** Goes on with what an earlier server left. */
  async start(): Promise<void> {
    await this.files.start();
    const names = await readdir(this.files.folder);
    for (const name of names.filter((one) => idOf.test(one.replace(/\.json$/, "")))) {
      const batch = JSON.parse(await readFile(path.join(this.files.folder, name), "utf8")) as BatchObject;
      this.#all.set(batch.id, batch);
    }
    this.#go();
  }

  /** Leaves the one that is worked on, for a later start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#cancel?.controller.abort();
    await this.#work;
  }

  async create(body: Record<string, unknown>): Promise<BatchObject> {
    const parsed = given.safeParse(body, inOurWords);
    if (!parsed.success) {
      const [{ path: at, message }] = parsed.error.issues as [z.core.$ZodIssue];
      throw new ApiError(400, `${at.join(".")}: ${message}`, { param: at.join(".") || null, code: "invalid_value" });
    }
    const { input_file_id, endpoint, completion_window, metadata = null } = parsed.data;
    const { purpose } = await this.files.get(input_file_id);
    if (purpose !== "batch")
      throw new ApiError(400, "expected a file that was uploaded for a batch", { param: "input_file_id" });
    const batch: BatchObject = {
      id: `batch_${randomBytes(12).toString("hex")}`,
      object: "batch",
      endpoint,
      input_file_id,
      completion_window,
      status: "validating",
      output_file_id: null,
      error_file_id: null,
      errors: null,
      created_at: seconds(),
      in_progress_at: null,
      completed_at: null,
      failed_at: null,
      cancelling_at: null,
      cancelled_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      metadata,
    };
    await this.#keep(batch);
    this.#go();
    return batch;
  }

  get(id: string): BatchObject {
    const found = this.#all.get(id);
    if (found) return found;
    throw new ApiError(404, "there is no such batch", { param: "batch_id", code: "batch_not_found" });
  }

  list(page: { limit: number; after: string | undefined }): object {
    return pageOf([...this.#all.values()], page);
  }

  async cancel(id: string): Promise<BatchObject> {
    const batch = this.get(id);
    if (batch.status !== "validating" && batch.status !== "in_progress")
      throw new ApiError(409, `the batch is ${batch.status} already`, { code: "batch_ended" });
    if (this.#cancel?.id === id) {
      await this.#keep(Object.assign(batch, { status: "cancelling", cancelling_at: seconds() }));
      this.#cancel.controller.abort();
    } else
      await this.#keep(
        Object.assign(batch, { status: "cancelled", cancelling_at: seconds(), cancelled_at: seconds() }),
      );
    return batch;
  }

  async #keep(batch: BatchObject): Promise<void> {
    this.#all.set(batch.id, batch);
    await writeFileAtomic(path.join(this.files.folder, `${batch.id}.json`), JSON.stringify(batch));
  }

  #go(): void {
    this.#work ??= this.#run()
      .catch((error) => this.log.error({ err: error }, "batches stopped"))
      .finally(() => {
        this.#work = null;
      });
  }

  async #run(): Promise<void> {
    for (;;) {
      const open = [...this.#all.values()].filter(({ status }) =>
        ["validating", "in_progress", "cancelling"].includes(status),
      );
      const next = open.sort((a, b) => a.created_at - b.created_at)[0];
      if (!next || this.#stopping.signal.aborted) return;
      if (next.status === "cancelling")
        await this.#keep(Object.assign(next, { status: "cancelled", cancelled_at: seconds() }));
      else await this.#answer(next);
    }
  }

  async #answer(batch: BatchObject): Promise<void> {
    const controller = new AbortController();
    this.#cancel = { id: batch.id, controller };
    try {
      await this.#keep(
        Object.assign(batch, { status: "in_progress", in_progress_at: batch.in_progress_at ?? seconds() }),
      );
      const [output, errors] = [this.files.newId(), this.files.newId()];
      const to = { out: this.files.at(output), errors: this.files.at(errors), signal: controller.signal };
      await batchRequests(
        this.files.at(batch.input_file_id),
        batch.input_file_id,
        this.store,
        this.engine,
        to,
        (now) => {
          batch.request_counts = { total: now.totalRows, completed: now.rows - now.errors, failed: now.errors };
        },
      );
      await this.files.describe(output, `${batch.id}_output.jsonl`, "batch_output");
      const failed = existsSync(to.errors);
      if (failed) await this.files.describe(errors, `${batch.id}_error.jsonl`, "batch_output");
      const files = { output_file_id: output, error_file_id: failed ? errors : null };
      await this.#keep(Object.assign(batch, { status: "completed", completed_at: seconds(), ...files }));
      this.log.info({ batch: batch.id, ...batch.request_counts }, "batch completed");
    } catch (error) {
      // What was answered is in the store, and the next start goes on.
      if (this.#stopping.signal.aborted) return;
      if (controller.signal.aborted) {
        await this.#keep(Object.assign(batch, { status: "cancelled", cancelled_at: seconds() }));
        return;
      }
      const known = error instanceof StillroomError && error.code !== "internal" && error.code !== "io";
      const message = known ? error.message : "the server failed; its log says why";
      this.log.error({ err: error, batch: batch.id }, "a batch failed");
      const data = [{ code: "failed", message, param: null, line: null }];
      await this.#keep(
        Object.assign(batch, { status: "failed", failed_at: seconds(), errors: { object: "list", data } }),
      );
    } finally {
      this.#cancel = null;
    }
  }
}

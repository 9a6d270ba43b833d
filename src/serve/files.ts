// The files that clients upload and that batches write: a folder of the server's own, with names of its own making. Knows no batch.
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile, rm, rmdir, stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { makeFolder, removeLeftovers, WholeFile, writeFileAtomic } from "../support/files.js";
import { ApiError } from "./errors.js";
import type { Uploaded } from "./upload.js";

/** A file as OpenAI's API has it. */
export interface FileObject {
  id: string;
  object: "file";
  bytes: number;
  /** Seconds since 1970. */
  created_at: number;
  filename: string;
  purpose: "batch" | "batch_output";
  status: "processed";
}

export const seconds = () => Math.floor(Date.now() / 1000);
const noFile = () => new ApiError(404, "there is no such file", { param: "file_id", code: "file_not_found" });
const idOf = /^file-[0-9a-f]{24}$/;

export class Files {
  constructor(readonly folder: string) {}

  /** Removes what a server that was killed had begun to write: its ids never come again. */
  async start(): Promise<void> {
    await makeFolder(this.folder);
    await removeLeftovers(this.folder, "file-");
  }

  /** Leaves no folder without a file. */
  async leave(): Promise<void> {
    await rmdir(this.folder).catch(() => undefined);
  }

  newId(): string {
    return `file-${randomBytes(12).toString("hex")}`;
  }

  /** Where the bytes of a file lie. Throws 404 for what is no id of ours: nothing else ever becomes a path. */
  at(id: string): string {
    if (!idOf.test(id)) throw noFile();
    return path.join(this.folder, id);
  }

  /** Takes an upload. What was begun and not ended leaves nothing. */
  async add(write: (file: WholeFile) => Promise<Uploaded>): Promise<FileObject> {
    const id = this.newId();
    const file = await WholeFile.create(this.at(id));
    let uploaded: Uploaded;
    try {
      uploaded = await write(file);
    } catch (error) {
      await file.discard();
      throw error;
    }
    await file.finish();
    return this.describe(id, uploaded.filename, "batch");
  }

  /** Makes a file that is written known. */
  async describe(id: string, filename: string, purpose: FileObject["purpose"]): Promise<FileObject> {
    const { size: bytes } = await stat(this.at(id));
    const made: FileObject = {
      id,
      object: "file",
      bytes,
      created_at: seconds(),
      filename,
      purpose,
      status: "processed",
    };
    await writeFileAtomic(`${this.at(id)}.json`, JSON.stringify(made));
    return made;
  }

  async get(id: string): Promise<FileObject> {
    try {
      return JSON.parse(await readFile(`${this.at(id)}.json`, "utf8")) as FileObject;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      throw noFile();
    }
  }

  async list(page: { limit: number; after: string | undefined }): Promise<object> {
    const names = await readdir(this.folder).catch(() => []);
    const ids = names.filter((name) => name.endsWith(".json") && idOf.test(name.slice(0, -5)));
    const all = await Promise.all(ids.map((name) => this.get(name.slice(0, -5)).catch(() => null)));
    return pageOf(
      all.filter((one) => one !== null),
      page,
    );
  }

  async remove(id: string): Promise<object> {
    await this.get(id);
    await rm(`${this.at(id)}.json`, { force: true });
    await rm(this.at(id), { force: true });
    return { id, object: "file", deleted: true };
  }

  async send(id: string, outgoing: ServerResponse, signal: AbortSignal): Promise<void> {
    const { bytes } = await this.get(id);
    outgoing.writeHead(200, { "content-type": "application/octet-stream", "content-length": bytes });
    await pipeline(createReadStream(this.at(id)), outgoing, { signal }).catch(() => outgoing.destroy());
  }
}

/** A page of a list, the newest first. */
export function pageOf<One extends { id: string; created_at: number }>(
  all: One[],
  { limit, after }: { limit: number; after: string | undefined },
): object {
  const sorted = all.sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1));
  const from = after === undefined ? 0 : sorted.findIndex(({ id }) => id === after) + 1;
  if (from === 0 && after !== undefined)
    throw new ApiError(400, "expected an id of the list for after", { param: "after" });
  const data = sorted.slice(from, from + limit);
  const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  return { object: "list", data, ...ends, has_more: from + limit < sorted.length };
}

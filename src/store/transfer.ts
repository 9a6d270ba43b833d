// A store's answers elsewhere: as lines of JSON that any program reads, and as a copy of the whole store. Owns the format of the lines.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { defaultMaxBytes, readLines } from "../dataset/index.js";
import { cannot, StillroomError } from "../support/errors.js";
import { makeFolder, syncFolder, WholeFile } from "../support/files.js";
import { requireOutside } from "../support/inputs.js";
import { type Maker, sha256 } from "./key.js";
import { type Answer, unpackRecord, vectorBytes, vectorOf } from "./record.js";
import type { Store } from "./store.js";
import { isNear, type Kept, keyBytes, nameNamespace, namespaceKey, namespaceOf, orderOf } from "./tables.js";
import { badShown, pagesOf } from "./upkeep.js";

/** A line of an export, without its checksum. */
interface Line {
  namespace: string;
  /** Of the request; hexadecimal, as the aliases. */
  key: string;
  written: number;
  expires: number;
  made_by: Maker;
  answer: Omit<Answer, "embedding"> & { embedding?: string };
  aliases: string[];
}

/** The fields of `stillroom store export --json`. */
export interface ExportedStore {
  store: string;
  out: string;
  answers: number;
  /** Damaged answers, left out. */
  damaged: number;
  bytes: number;
}

/** The fields of `stillroom store import --json`. */
export interface ImportedStore {
  store: string;
  answers: number;
  errors: number;
  /** The first 100 lines that were not taken. */
  bad_lines: { file: string; line: number; reason: string }[];
}

const header = { format: "stillroom-store-export", version: 1 };
const prefixBytes = keyBytes - 32;
/** Answers of one transaction of an import. */
const together = 1000;

/**
 * Writes all answers of a store, of every namespace, to a file of JSON lines: whole, or not at all.
 *
 * @example
 * ```ts
 * import { exportStore, openStore } from "stillroom";
 * const store = await openStore("answers", { readOnly: true });
 * console.log((await exportStore(store, "answers.jsonl")).answers);
 * await store.close();
 * ```
 */
export async function exportStore(
  store: Store,
  out: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<ExportedStore> {
  const { tables } = store;
  await requireOutside(out, store.folder, "the store's own folder");
  const file = await WholeFile.create(out);
  const hash = createHash("sha256");
  const result = { store: store.folder, out, answers: 0, damaged: 0, bytes: 0 };
  const write = (line: object) => {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    hash.update(bytes);
    return file.write(bytes);
  };
  try {
    await write(header);
    for await (const rows of pagesOf(tables.answers, signal, "exporting")) {
      for (const { key, value } of rows) {
        const record = unpackRecord(key, value);
        if (record === null) {
          result.damaged++;
          continue;
        }
        const name = tables.meta.get(namespaceKey(key.subarray(0, prefixBytes)));
        const { written, expires } = record;
        const { embedding, ...rest } = record.answer;
        const answer = { ...rest, ...(embedding && { embedding: vectorBytes(embedding).toString("base64") }) };
        const line: Line = {
          namespace: name?.toString() ?? "default",
          key: key.toString("hex", prefixBytes),
          ...{ written, expires, made_by: store.maker(record.maker), answer },
          // Vectors stay behind, and with them the aliases that are nothing without.
          aliases: (orderOf(tables, record.sequence, key)?.aliases ?? [])
            .filter((alias) => !isNear(alias))
            .map((alias) => alias.toString("hex", prefixBytes)),
        };
        await write({ ...line, sha256: checksumOf(line) });
        result.answers++;
      }
    }
    await write({ answers: result.answers, sha256: hash.copy().digest("hex") });
    result.bytes = await file.finish();
    return result;
  } catch (error) {
    await file.discard();
    throw error;
  }
}

function checksumOf(line: Line): string {
  return sha256(Buffer.from(JSON.stringify(line))).toString("hex", 0, 16);
}

/**
 * Takes the answers of an export into a store. A line that is not what was written is left out and counted, and so is the end of a file that was cut off.
 *
 * @throws StillroomError "input" for a file that is no export
 *
 * @example
 * ```ts
 * import { importStore, openStore } from "stillroom";
 * const store = await openStore("elsewhere");
 * const { answers, errors } = await importStore(store, "answers.jsonl");
 * console.log(answers, errors);
 * await store.close();
 * ```
 */
export async function importStore(
  store: Store,
  file: string,
  { signal }: { signal?: AbortSignal } = {},
): Promise<ImportedStore> {
  const result: ImportedStore = { store: store.folder, answers: 0, errors: 0, bad_lines: [] };
  const report = (line: number, reason: string) => {
    if (result.errors++ < badShown) result.bad_lines.push({ file, line, reason });
  };
  const hash = createHash("sha256");
  let waiting: Kept[] = [];
  let [last, ended] = [0, false];
  const flush = async () => {
    await store.keep(waiting);
    result.answers += waiting.length;
    waiting = [];
  };
  for await (const { number, bytes } of readLines(file, { maxBytes: defaultMaxBytes, signal })) {
    last = number;
    const text = bytes?.toString() ?? "";
    if (number === 1) {
      if (text !== JSON.stringify(header)) throw new StillroomError("input", `${file} is no export of a store`);
    } else {
      const found = parseLine(text);
      if (typeof found === "string") report(number, found);
      else if ("total" in found) {
        ended = true;
        if (found.sha256 !== hash.copy().digest("hex"))
          report(number, "the lines before are not those that were written");
      } else {
        nameNamespace(store.tables, found.namespace);
        waiting.push(found.kept);
        if (waiting.length >= together) await flush();
      }
    }
    hash.update(bytes ?? "").update("\n");
  }
  await flush();
  if (last === 0) throw new StillroomError("input", `${file} is no export of a store`);
  if (!ended) report(last, "the file ends before its last line: it was cut off");
  return result;
}

function parseLine(text: string): { namespace: string; kept: Kept } | { total: number; sha256: string } | string {
  try {
    const { sha256, ...line } = JSON.parse(text) as Line & { sha256: string };
    if ("answers" in line) return { total: Number(line.answers), sha256 };
    if (checksumOf(line) !== sha256) return "is not what was written";
    return { namespace: line.namespace, kept: keptOf(line) };
  } catch {
    return "is no line of an export";
  }
}

function keptOf({ namespace, key, written, expires, made_by, answer, aliases }: Line): Kept {
  const own = (hex: string) => Buffer.concat([namespaceOf(namespace), Buffer.from(hex, "hex")]);
  const { embedding, ...rest } = answer;
  if (rest.interval && !(rest.interval.length === 2 && rest.interval.every(Number.isFinite)))
    throw new RangeError("an interval is two numbers");
  const whole = { ...rest, ...(embedding !== undefined && { embedding: vectorOf(Buffer.from(embedding, "base64")) }) };
  return { key: own(key), record: { answer: whole, written, expires }, maker: made_by, aliases: aliases.map(own) };
}

/**
 * Copies a store as it is now, also while another process writes to it, without the pages that it has free. The copy is a store.
 *
 * @param out - a folder that is not there yet
 *
 * @example
 * ```ts
 * import { backupStore, openStore } from "stillroom";
 * const store = await openStore("answers", { readOnly: true });
 * console.log((await backupStore(store, "answers-monday")).bytes);
 * await store.close();
 * ```
 */
export async function backupStore(
  store: Store,
  out: string,
): Promise<{ store: string; out: string; answers: number; bytes: number }> {
  if (existsSync(out)) throw new StillroomError("usage", `${out} is there already; choose another folder for the copy`);
  const { tables } = store;
  const temporary = `${out}.${process.pid}.tmp`;
  await makeFolder(path.dirname(path.resolve(out)));
  try {
    await mkdir(temporary);
    await tables.copyTo(temporary);
    const handle = await open(path.join(temporary, "data.mdb"), "r+");
    await handle.sync();
    const { size } = await handle.stat();
    await handle.close();
    await rename(temporary, out);
    await syncFolder(path.dirname(path.resolve(out)));
    return { store: store.folder, out, answers: tables.count(tables.answers), bytes: size };
  } catch (error) {
    // Where it could not be made it may not be looked for either.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    if (error instanceof StillroomError) throw error;
    throw cannot("write the copy", out, error);
  }
}

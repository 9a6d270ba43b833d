// What a job reads, by its name in messages, and the refusal to write over it, or over what is none of ours.
import { open, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { reasonOf, StillroomError } from "./errors.js";

/** A file that a job reads. */
export interface InputFile {
  /** "the task file", as a sentence goes on after the path. */
  what: string;
  file: string;
}

/** Throws "usage" where a job would replace a file that it reads, however the two paths are spelt. */
export async function requireNoInput(output: string, inputs: readonly InputFile[]): Promise<void> {
  const place = await placeOf(output);
  for (const { what, file } of inputs) {
    if ((await placeOf(file)) !== place) continue;
    throw new StillroomError("usage", `${output} is ${what}; choose another file`);
  }
}

/**
 * Throws "usage" where a file is there that is of another kind than the one to be written: its first bytes tell. Throws "io" where this user
 * may not read them: it may be anything. What is no file is requireWritable's to refuse.
 */
export async function requireSameKind(output: string, begins: string, kind: string): Promise<void> {
  const there = await stat(output).catch(() => null);
  if (!there?.isFile()) return;
  const found = await firstBytes(output, begins.length).catch((error) => {
    const message = `${output} is there and cannot be read, so it may be no ${kind}: ${reasonOf(error, output)}`;
    throw new StillroomError("io", `${message}; or choose another file`, { cause: error });
  });
  if (found === "" || found === begins) return;
  throw new StillroomError("usage", `${output} is there and is no ${kind}; choose another file, or remove it`);
}

async function firstBytes(name: string, count: number): Promise<string> {
  const file = await open(name, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Throws "usage" where a file would be written into a folder that is looked after by the job itself. */
export async function requireOutside(output: string, folder: string, what: string): Promise<void> {
  const [place, within] = [await placeOf(output), await placeOf(folder)];
  if (place === within || place.startsWith(within + path.sep))
    throw new StillroomError("usage", `${output} lies in ${what}; choose another place`);
}

/** Where a path leads: links are followed as far as there are files. */
async function placeOf(file: string): Promise<string> {
  const absolute = path.resolve(file);
  return realpath(absolute).catch(async () => {
    const folder = path.dirname(absolute);
    return path.join(await realpath(folder).catch(() => folder), path.basename(absolute));
  });
}

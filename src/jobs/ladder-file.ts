// ladder.json: the rungs that are done, what they depend on, and how long the one that is being made has taken. Refuses the file of another ladder; climbs nothing.
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { z } from "zod";
import { StillroomError } from "../support/errors.js";
import { writeFileAtomic } from "../support/files.js";
import type { Task } from "../task/index.js";
import type { LadderRung, RungName } from "./ladder.js";

/** What its rungs depend on. */
type Identity = Record<string, unknown>;

interface Content {
  format: "stillroom-ladder";
  version: 4;
  identity: Identity;
  rungs: LadderRung[];
  /** What the making of a rung that is not done has taken, all processes together; null where none was cut off. */
  making: { rung: RungName; seconds: number } | null;
}

/** null: what JSON has for no number. */
const number = z.number().nullable();
const interval = z.looseObject({ value: number, low: number, high: number });

/** What the ladder's table and page read of a rung. */
const rungParts = z.looseObject({
  rung: z.string(),
  ...{ shots: z.number(), select: z.string().nullable(), prompt: z.string().nullable() },
  ...{ model: z.string(), adapter: z.string().nullable(), rows: z.number(), errors: z.number() },
  metrics: z.record(z.string(), interval.nullable()),
  p_value: number,
  fairness: z.looseObject({
    gap: z.looseObject({ difference: interval, p_holm: number }).nullable(),
    swap: z.looseObject({ flips: interval }).nullable(),
  }),
  ...{ rows_per_second: z.number(), memory_bytes: number, bytes: z.number(), seconds: z.number() },
});

/** Milliseconds between notes of how long a rung has taken: what a killed process loses at most. */
const noteEvery = 5000;

export class LadderFile {
  rungs: LadderRung[] = [];
  #making: Content["making"] = null;

  constructor(
    readonly folder: string,
    readonly identity: Identity,
  ) {}

  get #file(): string {
    return path.join(this.folder, "ladder.json");
  }

  /**
   * Takes up what an earlier process left. Throws "usage" where that was another ladder or anything else, whose files would be written over or taken for a rung's; "input" for a file
   * that no ladder of this version wrote.
   */
  async open(): Promise<void> {
    const text = await readFile(this.#file, "utf8").catch(() => null);
    if (text === null) {
      await requireEmpty(this.folder);
      return this.#write();
    }
    const before = parse(this.#file, text);
    requireSameLadder(this.folder, before.identity, this.identity);
    this.rungs = before.rungs;
    this.#making = before.making;
  }

  /** Makes a rung; gives the seconds that it took, with those of processes that were cut off while they made it. */
  async timed(rung: RungName, make: () => Promise<void>): Promise<number> {
    const before = this.#making?.rung === rung ? this.#making.seconds : 0;
    const started = performance.now();
    const seconds = () => before + (performance.now() - started) / 1000;
    // A note that cannot be written costs the note; the disk is told of where something is kept.
    const note = () => {
      this.#making = { rung, seconds: seconds() };
      return this.#write().catch(() => undefined);
    };
    let noted: Promise<void> = Promise.resolve();
    const timer = setInterval(() => {
      noted = noted.then(note);
    }, noteEvery);
    try {
      await make();
      return seconds();
    } finally {
      clearInterval(timer);
      await noted;
      await note();
    }
  }

  async keep(rung: LadderRung): Promise<void> {
    this.rungs.push(rung);
    this.#making = null;
    await this.#write();
  }

  #write(): Promise<void> {
    const { identity, rungs } = this;
    const file: Content = { format: "stillroom-ladder", version: 4, identity, rungs, making: this.#making };
    return writeFileAtomic(this.#file, `${JSON.stringify(file, null, 2)}\n`);
  }
}

/** Locks, hidden files and what a write that was cut off left count as nothing. */
async function requireEmpty(folder: string): Promise<void> {
  const found = (await readdir(folder)).filter((name) => !/^(\.|lock|ladder\.json)/.test(name));
  if (found.length === 0) return;
  const message = `${folder} holds ${found.sort()[0]}, and no ladder; choose an empty or a new folder for out`;
  throw new StillroomError("usage", message, { options: ["out"] });
}

function parse(file: string, text: string): Content {
  let wrong = "is not of a ladder of this version; give another folder";
  try {
    const found = JSON.parse(text) as Content;
    const known = found.format === "stillroom-ladder" && found.version === 4;
    if (known && "name" in (found.identity.task as Task) && Array.isArray(found.rungs)) {
      const at = found.rungs.findIndex((rung) => !rungParts.safeParse(rung).success);
      if (at < 0) return found;
      wrong = `is damaged in its rung ${at + 1}; put it back as the ladder wrote it, or give another folder`;
    }
  } catch {
    // Not JSON, or of no ladder.
  }
  throw new StillroomError("input", `${file} ${wrong}`);
}

/** Differences that a message tells, and characters of the longest of their values. */
const [differencesTold, valueTold] = [3, 60];

/** Throws "usage" where a folder's ladder is another one: of another task, by its name, or of this one with something else, by what that is. */
function requireSameLadder(out: string, before: Identity, now: Identity): void {
  const all = [...differences(before, now, [])];
  if (all.length === 0) return;
  const options = ["out", ...all.map(([name]) => name!)];
  const [was, is] = [before, now].map(({ task }) => (task as Pick<Task, "name">).name);
  if (was !== is) {
    const message = `${out} holds a ladder of the task ${was}, this is ${is}; choose another folder for out`;
    throw new StillroomError("usage", message, { options });
  }
  const told = all.slice(0, differencesTold).map((at) => {
    const [was, is] = [before, now].map((identity) => JSON.stringify(at.reduce(valueIn, identity)) ?? "not given");
    const name = at.join(".");
    return Math.max(was!.length, is!.length) > valueTold ? `another ${name}` : `${name} ${was}, now ${is}`;
  });
  const more = all.length > differencesTold ? ` and ${all.length - differencesTold} more` : "";
  const message = `${out} holds a ladder with ${told.join("; ")}${more}; give what it was begun with, or choose another folder for out`;
  throw new StillroomError("usage", message, { options });
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const valueIn = (value: unknown, name: string): unknown => (isObject(value) ? value[name] : undefined);

/** The places where two values of JSON differ. */
function* differences(was: unknown, is: unknown, at: string[]): Generator<string[]> {
  if (isObject(was) && isObject(is)) {
    for (const name of new Set([...Object.keys(was), ...Object.keys(is)]))
      yield* differences(was[name], is[name], [...at, name]);
  } else if (was !== is) yield at;
}

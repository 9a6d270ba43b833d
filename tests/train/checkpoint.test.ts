// Checkpoints against damage and failing disks: detected by name, and an older one is always left.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { type FileSystem, fileSystem } from "../../src/support/files.js";
import type { NativeTensor } from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";
import { Checkpoint, type CheckpointSource, encodeCheckpoint } from "../../src/train/checkpoint.js";
import { CheckpointStore } from "../../src/train/checkpoint-store.js";
import { noProgress, type Progress } from "../../src/train/progress.js";
import { stateOf } from "../support/fake_engine.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-checkpoint-"));
});

/** All that a checkpoint holds. */
interface Whole {
  step: number;
  fingerprint: Record<string, unknown>;
  progress: Progress;
  adapter: NativeTensor[];
  optimizer: Uint8Array;
  best: NativeTensor[] | null;
}

function checkpoint(step: number, withBest = true): Whole {
  const tensor = (name: string, value: number) => ({
    name,
    shape: [2, 3] as [number, number],
    data: new Float32Array(6).fill(value),
  });
  return {
    step,
    fingerprint: { model: "abc" },
    progress: { ...noProgress(), rows: step * 16 },
    adapter: [tensor("blk.0.attn_q.lora_a", step), tensor("blk.0.attn_q.lora_b", -step)],
    optimizer: Uint8Array.of(1, 2, 3),
    best: withBest ? [tensor("blk.0.attn_q.lora_a", 0.5), tensor("blk.0.attn_q.lora_b", 0.25)] : null,
  };
}

/** What a run would write to have this checkpoint. */
function source(checkpoint: Whole): CheckpointSource {
  const { adapter, optimizer, ...rest } = checkpoint;
  const read = (index: number, into: Float32Array, first = 0) =>
    into.set(adapter[index]!.data.subarray(first, first + into.length));
  const shapes = adapter.map(({ name, shape }) => ({ name, shape }));
  return { ...rest, parameters: { shapes, read }, optimizer: stateOf(optimizer) };
}

/** The bytes of its file; a piece may overwrite the one before. */
function encoded(checkpoint: Whole): Buffer {
  const pieces: Buffer[] = [];
  for (const piece of encodeCheckpoint(source(checkpoint))) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** All that an open checkpoint holds, read through its own methods. */
async function whole(found: Checkpoint): Promise<Whole> {
  const { step, fingerprint, progress, parameters: shapes, sections } = found.header;
  const adapter = shapes.map(({ name, shape }) => ({ name, shape, data: new Float32Array(shape[0] * shape[1]) }));
  const write = (index: number, from: Float32Array, first = 0) => adapter[index]!.data.set(from, first);
  const optimizer = new Uint8Array(sections[shapes.length]!);
  await found.restore({ parameters: { shapes, write }, optimizer: stateOf(optimizer) });
  return { step, fingerprint, progress, adapter, optimizer, best: await found.best() };
}

/** Writes bytes as a file and opens it as a checkpoint. */
async function decoded(bytes: Buffer): Promise<Whole> {
  const file = path.join(folder, "run-step-7");
  await writeFile(file, bytes);
  return whole(await Checkpoint.open(file));
}

test("what was written is read", async () => {
  for (const withBest of [true, false]) {
    const bytes = encoded(checkpoint(7, withBest));
    expect(await decoded(bytes)).toEqual(checkpoint(7, withBest));
  }
});

test("a large state goes through one small buffer, and only one piece of it lies in memory at a time", async () => {
  const data = new Float32Array(4e5).map((_, index) => index % 257);
  const adapter = [
    ...checkpoint(7).adapter,
    { name: "blk.0.attn_k.lora_a", shape: [1000, 400] as [number, number], data },
  ];
  const large = { ...checkpoint(7), adapter, optimizer: new Uint8Array(5e6).map((_, index) => index % 251) };
  const buffers = new Set<ArrayBufferLike>();
  let longest = 0;
  for (const piece of encodeCheckpoint({ ...source(large), best: null })) {
    if (piece.byteLength > 1000) buffers.add(piece.buffer);
    longest = Math.max(longest, piece.byteLength);
  }
  expect(buffers.size).toBe(1);
  expect(longest).toBe(1 << 20);
  const found = await decoded(encoded(large));
  expect(Buffer.compare(found.optimizer, large.optimizer)).toBe(0);
  for (const [index, tensor] of large.adapter.entries()) {
    expect(Buffer.compare(Buffer.from(found.adapter[index]!.data.buffer), Buffer.from(tensor.data.buffer))).toBe(0);
  }
  expect(found).toMatchObject({ step: 7, best: large.best });
});

test("a flipped bit at each of 200 places is found, and every file cut short is refused by name", async () => {
  const whole = encoded(checkpoint(7));
  const random = new Random(1);
  for (let i = 0; i < 200; i++) {
    const at = random.below(whole.length);
    const flipped = Buffer.from(whole);
    flipped[at]! ^= 1 << random.below(8);
    await expect(decoded(flipped), `flip at ${at}`).rejects.toThrow(/run-step-7 is damaged: /);
    const cut = Buffer.from(whole.subarray(0, at));
    await expect(decoded(cut), `cut at ${at}`).rejects.toThrow(/run-step-7 is damaged: /);
  }
});

test("a file with a true hash but a header that lies about lengths is refused", async () => {
  const bytes = encoded(checkpoint(7));
  bytes.write("[2,4]", bytes.indexOf("[2,3]"), "latin1");
  const body = bytes.subarray(0, bytes.length - 32);
  createHash("sha256").update(body).digest().copy(bytes, body.length);
  await expect(decoded(bytes)).rejects.toThrow("its header does not describe its content");
});

test("the newest two are kept", async () => {
  const store = new CheckpointStore(folder);
  for (const step of [5, 10, 15]) await store.write(source(checkpoint(step)));
  expect((await readdir(folder)).sort()).toEqual(["step-000000010.checkpoint", "step-000000015.checkpoint"]);
  expect(await whole((await store.latest())!.checkpoint)).toEqual(checkpoint(15));
});

test("a checkpoint is not put into the state of another run", async () => {
  const file = path.join(folder, "x");
  await writeFile(file, encoded(checkpoint(7)));
  const found = await Checkpoint.open(file);
  const shapes = found.header.parameters;
  const [write, optimizer] = [() => undefined, stateOf(new Uint8Array(3))];
  for (const into of [
    { parameters: { shapes: shapes.slice(1), write }, optimizer },
    { parameters: { shapes, write }, optimizer: stateOf(new Uint8Array(4)) },
  ]) {
    await expect(found.restore(into)).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("another run"),
    });
  }
});

test("the best weights that the newest two checkpoints need are kept beside them", async () => {
  const store = new CheckpointStore(folder);
  const files = async () =>
    (await readdir(folder)).sort().map((name) => name.replace(/-0*/, "-").replace(".checkpoint", ""));
  const best = (step: number) =>
    store.writeBest({ ...source(checkpoint(step)), optimizer: stateOf(new Uint8Array(0)) });
  await best(4);
  await store.write(source(checkpoint(5)));
  await best(6);
  await best(8);
  expect(await files()).toEqual(["best-4", "best-6", "best-8", "step-5"]);
  await store.write(source(checkpoint(10)));
  expect(await files()).toEqual(["best-4", "best-8", "step-5", "step-10"]);
  await store.write(source(checkpoint(15)));
  expect(await files()).toEqual(["best-8", "step-10", "step-15"]);
  await best(16);
  // A run that goes on from step 15 takes the later ones again.
  await store.tidy(15);
  expect(await files()).toEqual(["best-8", "step-10", "step-15"]);
  expect((await whole(await store.best(8))).adapter).toEqual(checkpoint(8).adapter);
  await expect(store.best(16)).rejects.toMatchObject({ code: "input" });
});

test("a damaged newest one gives way to the older, and is gone once a newer good one is written", async () => {
  const store = new CheckpointStore(folder);
  await store.write(source(checkpoint(5)));
  const { file } = await store.write(source(checkpoint(10)));
  await writeFile(file, (await readFile(file)).subarray(0, 100));
  const found = await store.latest();
  expect(found?.checkpoint.step).toBe(5);
  expect(found?.damaged).toEqual([expect.stringContaining("step-000000010.checkpoint is damaged: ")]);
  await store.write(source(checkpoint(7)));
  expect((await readdir(folder)).sort()).toEqual(["step-000000005.checkpoint", "step-000000007.checkpoint"]);
});

test("one whose best weights are damaged gives way to the older; best weights alone are none to go on from", async () => {
  const store = new CheckpointStore(folder);
  const best = (step: number) =>
    store.writeBest({ ...source(checkpoint(step)), optimizer: stateOf(new Uint8Array(0)) });
  const write = (step: number, bestStep: number) => {
    const { progress, ...state } = source(checkpoint(step, false));
    const validation = { loss: 1, metrics: {} };
    return store.write({ ...state, progress: { ...progress, best: { step: bestStep, value: 1, validation } } });
  };
  await best(4);
  expect(await store.latest()).toBeNull();
  await write(5, 4);
  await best(8);
  await write(10, 8);
  expect((await store.latest())?.checkpoint.step).toBe(10);
  const file = (step: number) => path.join(folder, `best-00000000${step}.checkpoint`);
  await writeFile(file(8), "torn");
  const found = await store.latest();
  expect(found?.checkpoint.step).toBe(5);
  expect(found?.damaged).toEqual([expect.stringMatching(/best-000000008.checkpoint is damaged: /)]);
  await rm(file(4));
  await expect(store.latest()).rejects.toThrow(
    /no checkpoint .*000000008.*000000004.*; without .* begins again at step 1$/,
  );
});

test("with all of them damaged nothing starts silently from the beginning", async () => {
  const store = new CheckpointStore(folder);
  expect(await store.latest()).toBeNull();
  const { file } = await store.write(source(checkpoint(5)));
  await writeFile(file, "no");
  await expect(store.latest()).rejects.toThrow(/no checkpoint can be used: .*step-000000005/);
});

/** A file system whose nth call fails; counts the calls. */
function failingAt(n: number): FileSystem & { calls: number } {
  const state = { calls: 0 };
  const call = <T>(what: string, work: () => Promise<T>): Promise<T> => {
    state.calls += 1;
    return state.calls === n ? Promise.reject(Object.assign(new Error(`${what} failed`), { code: "EIO" })) : work();
  };
  return {
    get calls() {
      return state.calls;
    },
    rename: (from, to) => call("rename", () => fileSystem.rename(from, to)),
    remove: (file) => call("remove", () => fileSystem.remove(file)),
    open: (file, flags) =>
      call("open", async () => {
        const handle = await fileSystem.open(file, flags);
        return {
          write: ((...args: Parameters<typeof handle.write>) =>
            call("write", () => handle.write(...args))) as typeof handle.write,
          sync: () => call("fsync", () => handle.sync()),
          close: () => handle.close(),
        };
      }),
  };
}

test.each(["step", "best"])("a folder with the name of a %s checkpoint is told before any step", async (kind) => {
  const store = new CheckpointStore(folder);
  await store.write(source(checkpoint(5)));
  const taken = path.join(folder, `${kind}-000000009.checkpoint`);
  await mkdir(taken);
  const message = `${taken} is a folder, and has a checkpoint's name; move it away`;
  await expect(store.latest()).rejects.toMatchObject({ code: "input", message });
});

test("whichever write, fsync, rename or removal fails, an io error comes and a whole checkpoint loads", async () => {
  let failures = 0;
  for (let n = 1; ; n++) {
    const place = path.join(folder, String(n));
    const good = new CheckpointStore(place);
    for (const step of [5, 10]) await good.write(source(checkpoint(step)));
    const files = failingAt(n);
    const error = await new CheckpointStore(place, files).write(source(checkpoint(15))).then(
      () => null,
      (caught: { code?: string }) => caught,
    );
    if (files.calls < n) break;
    failures += 1;
    expect(error?.code, `call ${n}`).toBe("io");
    const found = await good.latest();
    expect([10, 15]).toContain(found?.checkpoint.step);
    expect(await whole(found!.checkpoint)).toEqual(checkpoint(found!.checkpoint.step));
    expect(found?.damaged).toEqual([]);
  }
  // open, a write for each piece (start, header, 2 + 1 + 2 sections, hash), fsync, rename, open and fsync of the folder, removal
  expect(failures).toBe(14);
});

// makeStudent() on toys of which some parts do nothing: those go, the rest computes what the teacher does, here and in llama.cpp.
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { inspect, type Model, openModel, resolveDefaultModel } from "../../src/model/index.js";
import { makeStudent } from "../../src/student/index.js";
import { native } from "../../src/support/native.js";
import { readTask, type Task } from "../../src/task/index.js";
import { packTexts } from "../../src/tokens/index.js";
import { writeToyTask } from "../jobs/toy-task.js";
import { textToy, writeTextToy } from "../support/text_toy.js";

const base = mkdtempSync(path.join(os.tmpdir(), "stillroom-student-"));
process.env.XDG_CACHE_HOME = path.join(base, "cache");
let teacher: Model;
let task: Task;
let folder = "";
let out = "";

/** Every third channel adds nothing, nor does key-value head 0 with its two query heads. */
function idle(name: string, data: Float32Array, columns: number): void {
  const off = (column: number) =>
    name.includes("attn_output") ? column < 16 : name.includes("ffn_down") && column % 3 === 0;
  for (const index of data.keys()) if (off(index % columns)) data[index] = 0;
}

beforeAll(async () => {
  teacher = await openModel(writeTextToy({}, { ...textToy, layers: 6 }, idle), { threads: 1 });
  task = await readTask(writeToyTask().file);
});
afterAll(() => teacher.close());
beforeEach(() => {
  folder = mkdtempSync(path.join(base, "out-"));
  out = path.join(folder, "student.gguf");
});

const batch = () => packTexts(["abc:", "xyzv: late"].map((text) => teacher.tokenizer.tokenize(text, false, false)));

async function logitsOf(file: string): Promise<Float32Array> {
  const model = await openModel(file, { threads: 1 });
  const logits = await model.native.logits(batch(), null);
  await model.close();
  return logits;
}
const wholeLayers = (layers: number[]) => ({
  layers: Int32Array.from(layers),
  feedForward: layers.map(() => Int32Array.from(Array(48).keys())),
  width: Int32Array.from(Array(32).keys()),
  heads: layers.map(() => Int32Array.of(0, 1, 2, 3)),
  keyValueHeads: layers.map(() => Int32Array.of(0, 1)),
  ...{ tokens: null, seed: 0 },
});
const distance = (a: Float32Array, b: Float32Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

describe("makeStudent", () => {
  it("leaves out what does nothing, and computes what the teacher does", async () => {
    const found = await makeStudent({ teacher, task, feedForward: 32, heads: 2, type: "f32", out });
    expect(found).toMatchObject({ out, teacher: teacher.info.path, task: "halves", type: "f32", rows: 48, errors: 0 });
    expect(found.layers).toEqual([0, 1, 2, 3, 4, 5]);
    expect(found).toMatchObject({ feed_forward: 32, heads: 2, key_value_heads: 1 });
    expect(found.loss.student).toBeCloseTo(found.loss.teacher, 5);
    expect(found.bytes).toBe(readFileSync(out).length);
    const info = await inspect(out);
    expect(info).toMatchObject({ layers: 6, feed_forward: 32, heads: 2, key_value_heads: 1, head_width: 8, width: 32 });
    expect(info).toMatchObject({ name: "text-toy student", tunable: true, parameters: found.parameters });
    expect(distance(await logitsOf(out), await teacher.native.logits(batch(), null))).toBeLessThan(1e-4);
    expect(readdirSync(folder)).toEqual(["student.gguf"]);
  });

  it("writes f16 by default, close to the teacher", async () => {
    const found = await makeStudent({ teacher, task, out });
    expect(found.type).toBe("f16");
    expect((await inspect(out)).types).toEqual({ f16: 43, f32: 13 });
    const far = distance(await logitsOf(out), await teacher.native.logits(batch(), null));
    expect(far).toBeGreaterThan(0);
    expect(far).toBeLessThan(0.05);
  });

  it("leaves out the layer that the loss rises least without, and is the rest of the teacher bit for bit", async () => {
    const { layers, loss } = await makeStudent({ teacher, task, layers: 5, type: "f32", out });
    const others = [];
    for (let gone = 0; gone < 6; gone++) {
      const kept = [0, 1, 2, 3, 4, 5].filter((layer) => layer !== gone);
      const file = path.join(folder, `${gone}.gguf`);
      await native().writeStudent(teacher.info.path, wholeLayers(kept), false, file);
      const student = await makeStudent({ teacher: file, task, out: `${file}.out`, type: "f32" });
      others.push(student.loss.student);
    }
    expect(loss.student).toBe(Math.min(...others));
    const options = { threads: 1, variant: null, layers: Int32Array.from(layers) };
    const part = await native().openModel(teacher.info.path, options);
    expect(await logitsOf(out)).toEqual(await part.logits(batch(), null));
    await part.close();
  });

  it("of a width is a fresh one: new layers begin as the identity, and what the teacher has is kept", async () => {
    const found = await makeStudent({ teacher, task, width: 32, layers: 8, feedForward: 48, type: "f32", out });
    expect(found).toMatchObject({ layers: [0, 1, 2, 3, 4, 5, -1, -1], width: 32, heads: 4, key_value_heads: 2 });
    expect(await inspect(out)).toMatchObject({ layers: 8, width: 32, head_width: 8 });
    expect(distance(await logitsOf(out), await teacher.native.logits(batch(), null))).toBeLessThan(1e-4);
    // Something is there to be trained.
    const student = await openModel(out, { threads: 1 });
    const weights = await student.native.createWeights({ targets: ["q", "down"], layers: [7] });
    const deviations = weights.shapes.map(({ shape: [rows, columns] }, index) => {
      const values = new Float32Array(rows! * columns!);
      weights.read(index, values);
      return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    });
    expect(deviations[0]).toBeCloseTo(0.02, 2);
    expect(deviations[1]).toBe(0);
    await student.close();
  });

  it("takes a seed without a width where heads are new", async () => {
    const made = async (seed: number) => {
      await makeStudent({ teacher, task, layers: 1, keyValueHeads: 1, seed, type: "f32", out });
      return logitsOf(out);
    };
    expect(await made(1)).not.toEqual(await made(2));
  });

  it("keeps the channels of the width that layers read, and draws the rest by the seed", async () => {
    const deaf = (name: string, data: Float32Array, columns: number) => {
      const reads = /attn_q|attn_k|attn_v|ffn_gate|ffn_up/.test(name);
      for (const index of data.keys()) if (reads && index % columns < 16) data[index] = 0;
    };
    const half = await openModel(writeTextToy({}, textToy, deaf), { threads: 1 });
    const embeddingsOf = async (model: Model) => {
      const weights = await model.native.createWeights({ targets: ["embeddings"] });
      const values = new Float32Array(weights.shapes[0]!.shape[0]! * weights.shapes[0]!.shape[1]!);
      weights.read(0, values);
      await model.close();
      return values;
    };
    const made = async (change: object) => {
      const found = await makeStudent({ teacher: half, task, width: 16, type: "f32", out, ...change });
      return { found, student: await openModel(out, { threads: 1 }) };
    };
    const { found, student } = await made({});
    // 48 channels at half the width, in 32s.
    expect(found).toMatchObject({ width: 16, feed_forward: 32, layers: [0, 1] });
    const narrow = await embeddingsOf(student);
    const wide = async (seed: number) => embeddingsOf((await made({ width: 40, seed })).student);
    const [first, again, other] = [await wide(1), await wide(1), await wide(2)];
    const whole = await embeddingsOf(half);
    expect(narrow).toEqual(whole.filter((_, index) => index % 32 >= 16));
    expect(first.filter((_, index) => index % 40 < 32)).toEqual(whole);
    expect(first).toEqual(again);
    expect(first).not.toEqual(other);
  });

  it.each([
    { layers: 3, feedForward: 16, heads: 2 },
    { width: 16, layers: 8, feedForward: 64, heads: 6, keyValueHeads: 3 },
  ])("opens in llama.cpp and in node-llama-cpp, with the engine's own scores: %j", async (size) => {
    await makeStudent({ teacher, task, ...size, out });
    const model = await openModel(out, { threads: 1 });
    const runner = await native().openRunner(out, { threads: 1, adapter: null, contextTokens: 64, sequences: 2 });
    const [ours, theirs] = [await model.native.score(batch(), null), await runner.score(batch())];
    expect(Math.max(...ours.map((value, i) => Math.abs(value - theirs[i]!)))).toBeLessThan(0.01);
    await runner.close();
    const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
    const loaded = await llama.loadModel({ modelPath: out });
    const tokens = model.tokenizer.tokenize("abc:", false, false);
    expect([...loaded.tokenize("abc:")]).toEqual([...tokens]);
    const context = await loaded.createContext({ contextSize: 64, threads: 1 });
    let next = -1;
    for await (const token of context.getSequence().evaluate(loaded.tokenize("abc:"), { temperature: 0 })) {
      next = token;
      break;
    }
    const logits = await model.native.logits(packTexts([tokens]), null);
    expect(next).toBe(logits.indexOf(Math.max(...logits)));
    await llama.dispose();
    await model.close();
  });

  it.each([
    ["qwen2", { heads: 2 }],
    ["qwen2", { heads: 2, keyValueHeads: 1, layers: 1 }],
    ["qwen2", { width: 48, layers: 3, heads: 4 }],
    ["qwen2", { keyValueHeads: 1 }],
    ["qwen2", { width: 16, heads: 2 }],
    ["qwen3", { heads: 2 }],
  ] as const)(
    "of a %s teacher it opens in llama.cpp, whether or not its heads fill the width: %j",
    async (kind, size) => {
      const toy = { ...textToy, architecture: kind };
      const qwen = await openModel(writeTextToy({}, toy), { threads: 1 });
      await makeStudent({ teacher: qwen, task, ...size, type: "f32", out });
      const { architecture, heads, width, head_width } = await inspect(out);
      expect(architecture).toBe(kind === "qwen3" || heads * head_width! === width ? kind : "llama");
      const student = await openModel(out, { threads: 1 });
      const runner = await native().openRunner(out, { threads: 1, adapter: null, contextTokens: 64, sequences: 2 });
      const [ours, theirs] = [await student.native.score(batch(), null), await runner.score(batch())];
      expect(Math.max(...ours.map((value, i) => Math.abs(value - theirs[i]!)))).toBeLessThan(0.01);
      await runner.close();
      await student.close();
      await qwen.close();
    },
  );

  it("of a qwen2 teacher with idle heads computes what the teacher does, as a llama", async () => {
    const qwen = await openModel(writeTextToy({}, { ...textToy, architecture: "qwen2" }, idle), { threads: 1 });
    await makeStudent({ teacher: qwen, task, heads: 2, type: "f32", out });
    expect(await inspect(out)).toMatchObject({ architecture: "llama", heads: 2, head_width: 8, width: 32 });
    expect(distance(await logitsOf(out), await qwen.native.logits(batch(), null))).toBeLessThan(1e-4);
    await qwen.close();
  });

  it("measures on rows from the whole of the training data", async () => {
    const { file, folder: data } = writeToyTask({ validation: false });
    const line = (text: string) => `${JSON.stringify({ text, half: "late" })}\n`;
    writeFileSync(path.join(data, "train.jsonl"), `${line("ab").repeat(50)}${line("xy").repeat(50)}{}\n`);
    const bad: number[] = [];
    const many = await makeStudent({
      ...{ teacher, task: await readTask(file), layers: 2, limit: 4, out },
      onBad: ({ line: number }) => bad.push(number),
    });
    expect(many).toMatchObject({ rows: 4, errors: 1 });
    expect(bad).toEqual([101]);
    writeFileSync(path.join(data, "train.jsonl"), `${line("ab")}${line("ab")}${line("xy")}${line("xy")}`);
    const few = await makeStudent({ teacher, task: await readTask(file), layers: 2, out });
    expect(few.loss.teacher).toBeCloseTo(many.loss.teacher, 10);
  });

  it("tells how far it is, and leaves nothing behind when it is called off, at whichever phase", async () => {
    for (const at of ["layers", "channels", "write", "measure"]) {
      const controller = new AbortController();
      const phases = new Set<string>();
      const work = makeStudent({
        ...{ teacher, task, layers: 2, feedForward: 16, out, signal: controller.signal },
        onProgress: ({ phase, done }) => {
          phases.add(phase);
          expect(done).toBeLessThanOrEqual(1);
          if (phase === at) controller.abort();
        },
      });
      await expect(work).rejects.toMatchObject({ code: "cancelled" });
      expect([...phases].at(-1)).toBe(at);
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it.each([
    [{ layers: 7 }, "usage", "expected a whole number up to the teacher's 6 for layers, received 7"],
    [{ layers: 0 }, "usage", "expected a whole number of at least 1 for layers, received 0"],
    [{ feedForward: 49 }, "usage", "expected a whole number up to the teacher's 48 for feedForward, received 49"],
    [{ heads: 5 }, "usage", "expected a whole number up to the teacher's 4 for heads, received 5"],
    [
      { heads: 3, keyValueHeads: 2 },
      "usage",
      "expected a number that divides the 3 query heads for keyValueHeads, received 2",
    ],
    [
      { seed: 1, layers: 2 },
      "usage",
      "seed is of what a student has and its teacher has not, and this one has nothing of that kind: leave seed out, or give width",
    ],
    [{ width: 1e6 }, "usage", "expected a whole number up to 65536 for width, received 1000000"],
    [{ type: "q8_0" }, "usage", 'expected f16 or f32 for type, received "q8_0"'],
    [{ task: undefined }, "usage", "expected what readTask gives for task, received undefined"],
    [{ out: "" }, "usage", 'expected a path for out, received ""'],
    [{ layer: 2 }, "usage", "makeStudent has no option layer; did you mean layers?"],
  ])("refuses %j", async (options, code, message) => {
    const work = makeStudent({ teacher, task, out, ...(options as object) });
    await expect(work).rejects.toMatchObject({ code, message });
  });

  it("never writes over what it reads", async () => {
    for (const file of [teacher.info.path, task.file, path.join(path.dirname(task.file), "train.jsonl")]) {
      await expect(makeStudent({ teacher, task, out: file })).rejects.toMatchObject({ code: "usage" });
    }
  });

  it("never writes over the model in the box, whoever teaches", async () => {
    const box = await resolveDefaultModel();
    // Called off beforehand, so that a mistake here costs no model.
    await expect(makeStudent({ teacher, task, out: box, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "usage",
      message: `${box} is the model in stillroom's box; choose another file`,
    });
  });

  it("tells of a place that takes no file before any work", async () => {
    const told: string[] = [];
    const work = makeStudent({ teacher, task, out: "/proc/student.gguf", onProgress: ({ phase }) => told.push(phase) });
    await expect(work).rejects.toThrow("cannot write /proc/student.gguf");
    expect(told).toEqual([]);
  });

  it("refuses a teacher that our engine does not open by its name, whatever its sizes are", async () => {
    const file = writeTextToy({ "llama.attention.sliding_window": 64 });
    await expect(makeStudent({ teacher: file, task, heads: 3, keyValueHeads: 2, out })).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/the native engine cannot open .*sliding-window attention is not supported/),
    });
  });

  it("refuses a weight that f16 cannot hold", async () => {
    const file = writeTextToy({}, textToy, (name, data) => {
      if (name === "blk.1.ffn_up.weight") data[7] = 1e6;
    });
    await expect(makeStudent({ teacher: file, task, layers: 2, out })).rejects.toMatchObject({
      code: "input",
      message: "tensor blk.1.ffn_up.weight holds a value that f16 cannot; write the student in f32",
    });
    expect(readdirSync(folder)).toEqual([]);
  });
});

// Safetensors: the reference reader's verdict on more than 300 bad files, half floats, and that no damage goes unseen.

import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from "../../src/adapter/index.js";
import { Random } from "../../src/support/random.js";

interface Case {
  name: string;
  /** Base64. */
  file: string;
  accepted: boolean;
  /** Accepted by the reference, though the format's text forbids it. */
  forbidden: boolean;
}
const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../golden/${name}`, import.meta.url), "utf8")) as T;
const cases = golden<Case[]>("safetensors.json");

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-safetensors-"));
  file = path.join(folder, "a.safetensors");
});
afterAll(() => rm(folder, { recursive: true }));

/** "accepted", or the message of the refusal, which must be an error of ours about the file. */
async function verdict(bytes: Uint8Array): Promise<string> {
  await writeFile(file, bytes);
  try {
    await readSafetensorsHeader(file);
    return "accepted";
  } catch (error) {
    expect(error).toMatchObject({ name: "StillroomError", code: "input" });
    expect((error as Error).message).toContain(file);
    return (error as Error).message;
  }
}

describe("the reference's verdict", () => {
  it("has at least 300 bad files to look at, and good ones beside them", () => {
    expect(cases.filter((one) => !one.accepted).length).toBeGreaterThanOrEqual(300);
    expect(cases.filter((one) => one.accepted && !one.forbidden).length).toBeGreaterThanOrEqual(50);
  });

  it.each(cases)("$name: $accepted", async ({ file, accepted, forbidden }) => {
    const ours = await verdict(Buffer.from(file, "base64"));
    expect(ours === "accepted", ours).toBe(accepted && !forbidden);
  });

  it("refuses a header one byte over 100 MB by its length, before it is read", async () => {
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(100_000_001n);
    expect(await verdict(start)).toMatch(/over the limit of 100 MB/);
  });
});

describe("reading values", () => {
  it("converts f16 and bf16 as PyTorch does", async () => {
    const { file: base64, h, b } = golden<{ file: string; h: string[]; b: string[] }>("halves.json");
    await writeFile(file, Buffer.from(base64, "base64"));
    const { tensors } = await readSafetensors(file);
    const spelled = (name: string) =>
      Array.from(tensors.find((tensor) => tensor.name === name)!.data, (value) => {
        return Object.is(value, -0) ? "-0.0" : value;
      });
    const numbers = (texts: string[]) =>
      texts.map((text) =>
        text === "-0.0"
          ? text
          : text.endsWith("inf")
            ? Number(`${text}inity`.replace("i", "I"))
            : text === "nan"
              ? Number.NaN
              : Math.fround(Number(text)),
      );
    expect(spelled("h")).toEqual(numbers(h));
    expect(spelled("b")).toEqual(numbers(b));
  });

  it("refuses a dtype that it does not read, by name", async () => {
    const header = '{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}';
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(BigInt(header.length));
    await writeFile(file, Buffer.concat([start, Buffer.from(header), Buffer.alloc(8)]));
    await expect(readSafetensors(file)).rejects.toThrow(
      /expected F32, F16 or BF16 for the dtype of tensor w, received I64/,
    );
  });

  it("reports a file that is not there as an I/O error", async () => {
    await expect(readSafetensors(path.join(folder, "none"))).rejects.toMatchObject({ code: "io" });
  });
});

describe("writing", () => {
  const tensors = [
    { name: "b", shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 3e38) },
    { name: "a", shape: [1, 3], data: new Float32Array([9, 4, 5, 6, 9]).subarray(1, 4) },
    { name: "none", shape: [0, 4], data: new Float32Array(0) },
  ];

  it("gives back what was written, with the data at a multiple of 8 bytes", async () => {
    await writeSafetensors(file, tensors, { format: "pt" });
    const bytes = await readFile(file);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(bytes.subarray(8 + length, 20 + length)).toEqual(Buffer.from(Float32Array.of(4, 5, 6).buffer));
    const { metadata, tensors: read } = await readSafetensors(file);
    expect(metadata.get("format")).toBe("pt");
    expect(read.map(({ name }) => name)).toEqual(["a", "b", "none"]);
    expect(read.find(({ name }) => name === "a")).toEqual({ name: "a", shape: [1, 3], data: Float32Array.of(4, 5, 6) });
    expect(read.find(({ name }) => name === "b")).toEqual(tensors[0]);
  });

  it("refuses a name twice and a shape of another size", async () => {
    await expect(writeSafetensors(file, [tensors[0]!, tensors[0]!], {})).rejects.toThrow(/distinct names/);
    const wrong = { ...tensors[0]!, shape: [3] };
    await expect(writeSafetensors(file, [wrong], {})).rejects.toThrow(
      /as many values as its shape 3 for b, received 4/,
    );
  });

  it("sees every cut and every flipped bit of 200 places", async () => {
    const random = new Random(4);
    const data = Float32Array.from({ length: 256 }, () => random.float());
    await writeSafetensors(file, [{ name: "w", shape: [16, 16], data }], { format: "pt" });
    const whole = await readFile(file);
    const hashAt = whole.indexOf('"sha256"');
    for (let trial = 0; trial < 200; trial++) {
      const at = random.below(whole.length);
      await writeFile(file, whole.subarray(0, at));
      await expect(readSafetensors(file), `cut at ${at}`).rejects.toMatchObject({ code: "input" });
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 1 << random.below(8);
      await writeFile(file, flipped);
      // A hash under another name is no hash; nothing else has changed then.
      const named = at > hashAt && at < hashAt + 7;
      const outcome = await readSafetensors(file).catch((error: { code: string }) => error.code);
      if (named && typeof outcome === "object") expect(outcome.tensors[0]!.data).toEqual(data);
      else expect(outcome, `bit flipped at ${at}`).toBe("input");
    }
  });
});

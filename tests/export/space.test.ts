// Room on the disk: estimates from above, and a refusal with numbers.
import os from "node:os";
import { describe, expect, it } from "vitest";
import { mergedBytes, quantizedBytes, requireSpace } from "../../src/export/space.js";
import type { NativeModelInfo, NativeTensor } from "../../src/support/native.js";

const info = { fileBytes: 1000, parameters: 8e6 } as NativeModelInfo;
const slack = 16 * 2 ** 20;
const tensor = (name: string, rows: number, columns: number): NativeTensor => ({
  ...{ name, shape: [rows, columns], data: new Float32Array(rows * columns) },
});

describe("space", () => {
  it("counts every adapted weight once more in f32", () => {
    const tensors = [tensor("blk.0.attn_q.lora_a", 2, 10), tensor("blk.0.attn_q.lora_b", 30, 2)];
    expect(mergedBytes(info, tensors) - slack).toBe(1000 + 4 * 10 * 30);
  });

  it.each([
    ["Q4_K_M", 6],
    ["Q8_0", 10],
    ["IQ2_XXS", 4],
    ["F16", 16],
    ["BF16", 16],
    ["F32", 32],
    ["MXFP4_MOE", 6],
  ])("takes %s for at most %d bits a weight", (type, bits) => {
    expect(quantizedBytes(info, type) - slack).toBe(8e6 * (bits / 8));
  });

  it("refuses with what is free and what is needed", async () => {
    await requireSpace(os.tmpdir(), 1);
    await expect(requireSpace(os.tmpdir(), 2 ** 60)).rejects.toMatchObject({
      code: "io",
      message: expect.stringMatching(/has \d+ MiB free, 1099511627776 MiB are needed/),
    });
  });
});

// loadAdapter finds an adapter in a run folder, a PEFT folder and a GGUF, and hands it to the model. The model is a double.
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadAdapter, readAdapterFolder } from "../../src/adapter/index.js";
import type { NativeLoraOptions, NativeModel, NativeTensor } from "../../src/support/native.js";
import { info } from "./tiny.js";

const readAdapter = vi.hoisted(() => vi.fn());
vi.mock(import("../../src/support/native.js"), async (original) => ({
  ...(await original()),
  native: () => ({ readAdapter }) as never,
}));

const peft = fileURLToPath(new URL("../golden/peft", import.meta.url));

let folder: string;
let loaded: NativeTensor[];
const model = {
  info,
  createLora: (options: NativeLoraOptions) => ({
    options,
    load: (tensors: NativeTensor[]) => {
      loaded = tensors;
    },
  }),
} as unknown as NativeModel;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stillroom-load-"));
  loaded = [];
});
afterEach(() => rm(folder, { recursive: true }));

describe("loadAdapter", () => {
  it.each(["", "adapter"])("reads the folder itself or its folder adapter: %j", async (inside) => {
    await cp(peft, path.join(folder, inside), { recursive: true });
    const lora = await loadAdapter(model, folder);
    const expected = await readAdapterFolder(peft, info);
    expect(lora.options).toEqual(expected.options);
    expect(loaded).toEqual(expected.tensors);
  });

  it("reads a GGUF LoRA: rank and targets from its tensors, alpha 0 as a scale of 1", async () => {
    const tensors: NativeTensor[] = [
      { name: "output.lora_a", shape: [2, 16], data: new Float32Array(32) },
      { name: "output.lora_b", shape: [20, 2], data: new Float32Array(40) },
      { name: "blk.1.attn_q.lora_a", shape: [2, 16], data: new Float32Array(32) },
      { name: "blk.1.attn_q.lora_b", shape: [16, 2], data: new Float32Array(32) },
    ];
    const file = path.join(folder, "adapter.gguf");
    await writeFile(file, "");
    for (const [alpha, taken] of [
      [8, 8],
      [0, 2],
    ] as const) {
      readAdapter.mockResolvedValueOnce({ architecture: "llama", alpha, tensors });
      const { options } = await loadAdapter(model, file);
      expect(options).toEqual({ rank: 2, alpha: taken, dropout: 0, rsLora: false, targets: ["q", "head"], seed: 0 });
      expect(loaded).toEqual(tensors);
    }
    expect(readAdapter).toHaveBeenLastCalledWith(file);
  });

  it("refuses a GGUF of another architecture, without tensors, and of weights that are no target", async () => {
    const file = path.join(folder, "adapter.gguf");
    await writeFile(file, "");
    readAdapter.mockResolvedValueOnce({ architecture: "qwen2", alpha: 8, tensors: [] });
    await expect(loadAdapter(model, file)).rejects.toThrow(/is for architecture qwen2, the model is llama/);
    readAdapter.mockResolvedValueOnce({ architecture: "llama", alpha: 8, tensors: [] });
    await expect(loadAdapter(model, file)).rejects.toThrow(/holds no adapter/);
    const tensors = [{ name: "blk.0.ffn_gate_inp.lora_a", shape: [2, 16], data: new Float32Array(32) }];
    readAdapter.mockResolvedValueOnce({ architecture: "llama", alpha: 8, tensors });
    await expect(loadAdapter(model, file)).rejects.toThrow(/blk.0.ffn_gate_inp.lora_a belongs to no weight/);
    readAdapter.mockRejectedValueOnce(Object.assign(new Error("bad magic"), { code: "input" }));
    await expect(loadAdapter(model, file)).rejects.toMatchObject({ name: "StillroomError", code: "input" });
  });

  it("says what is missing", async () => {
    await expect(loadAdapter(model, path.join(folder, "none"))).rejects.toMatchObject({ code: "missing" });
    await mkdir(path.join(folder, "adapter"));
    await expect(loadAdapter(model, folder)).rejects.toThrow(
      /expected adapter_config.json in .* or in its folder adapter/,
    );
  });

  it("names adapter and model when the engine finds that they do not fit", async () => {
    const refusing = {
      info,
      createLora: () => {
        throw new Error("expected 3 x 16");
      },
    } as unknown as NativeModel;
    await expect(loadAdapter(refusing, peft)).rejects.toThrow(/golden\/peft does not fit tiny.gguf: expected 3 x 16/);
  });
});

// Opening models: what is refused costs an error and not the process.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { inspect, openModel } from "../../src/model/index.js";
import { Random } from "../../src/support/random.js";
import { writeGguf } from "../support/gguf.js";
import { textToy, writeTextToy } from "../support/text_toy.js";
import { toyMetadata, toyTensors } from "../support/toy.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-open-"));
process.env.XDG_CACHE_HOME = path.join(folder, "cache");

describe("openModel", () => {
  it("opens a model with its facts, engine and tokenizer", async () => {
    const file = writeTextToy();
    const model = await openModel(file, { threads: 1 });
    expect(model.info).toMatchObject({ path: file, architecture: "llama", layers: 2, width: 32, vocabulary: 258 });
    expect([model.tunable, model.threads]).toEqual([true, 1]);
    expect(model.native.info).toEqual(model.info);
    expect([...model.tokenizer.tokenize("ab", false, false)]).toEqual([97, 98]);
    expect(model.template).toEqual({ chatTemplate: null, bosToken: "<s>", eosToken: "</s>" });
    await model.close();
  });

  it("refuses a file cut anywhere, and lives on", async () => {
    const whole = readFileSync(writeTextToy());
    const random = new Random(11);
    const file = path.join(folder, "cut.gguf");
    for (let cut = 0; cut < 40; cut++) {
      writeFileSync(file, whole.subarray(0, random.below(whole.length)));
      await expect(openModel(file)).rejects.toMatchObject({ code: "input", message: expect.stringContaining(file) });
    }
  });

  it("passes on what llama.cpp has against a file that our reader takes", async () => {
    const file = path.join(folder, "no-tokenizer.gguf");
    const metadata = Object.entries(toyMetadata(textToy)).filter(([name]) => !name.startsWith("tokenizer."));
    writeGguf(file, Object.fromEntries(metadata), toyTensors(textToy));
    expect((await inspect(file)).architecture).toBe("llama");
    await expect(openModel(file)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/^llama\.cpp cannot open .*no-tokenizer\.gguf: .+/),
    });
  });

  it("names the precisions that work here where one does not", async () => {
    for (const [precision, needed] of [
      ["bf16", "AVX512_BF16"],
      ["mixed", "AVX2 or AVX512_VNNI"],
    ] as const)
      await expect(openModel(writeTextToy(), { variant: "portable", precision })).rejects.toMatchObject({
        code: "usage",
        options: ["precision"],
        message: expect.stringMatching(
          new RegExp(`^expected one of .*f32.* for precision, received "${precision}", whose products need ${needed},`),
        ),
      });
  });

  it("opens for llama.cpp alone what the engine cannot take, and says why", async () => {
    const file = writeTextToy({ "llama.attention.sliding_window": 64 });
    expect(await inspect(file)).toMatchObject({ tunable: false, reason: expect.stringContaining("sliding-window") });
    const model = await openModel(file);
    expect(model.tunable).toBe(false);
    expect(model.tokenizer.vocabulary).toBe(258);
    expect(() => model.native).toThrow(/the native engine cannot open .*sliding-window attention is not supported/);
    await model.close();
  });
});

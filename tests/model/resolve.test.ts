// From what a user gives as a model to a file, or to a sentence that says what to give.
import { mkdirSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import * as folders from "../../src/model/folders.js";
import { inspect } from "../../src/model/index.js";
import { resolveDefaultModel, resolveModel } from "../../src/model/resolve.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-resolve-"));
const box = path.join(folders.packageRoot(), "models");
/** A package without a model in it. */
const emptyPackage = () => vi.spyOn(folders, "packageRoot").mockReturnValue(path.join(folder, "package"));

vi.mock("../../src/model/folders.js", { spy: true });

beforeEach(() => {
  vi.restoreAllMocks();
  vi.stubEnv("XDG_CACHE_HOME", folder);
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9/");
});

describe("resolveModel", () => {
  it("makes a path absolute", async () => {
    const file = path.join(folder, "model.gguf");
    writeFileSync(file, "");
    expect(await resolveModel(path.relative(process.cwd(), file))).toBe(file);
  });

  it.each([
    ["/no/such/model.gguf", "missing", "there is no model /no/such/model.gguf (give a path or an hf: URI)"],
    [folder, "input", `expected a GGUF file for model, received ${JSON.stringify(`${folder}/`)}`],
    ["", "usage", 'expected a path or an hf: URI for model, received ""'],
  ])("refuses %j", async (model, code, message) => {
    await expect(resolveModel(model)).rejects.toMatchObject({ code, message });
  });

  it("takes the model in the box where no model was given: one that can be tuned, of 12 MB at most", async () => {
    const file = await resolveDefaultModel();
    expect(path.dirname(file)).toBe(box);
    expect(statSync(file).size).toBeLessThanOrEqual(12e6);
    expect(await inspect(file)).toMatchObject({ tunable: true, architecture: "llama" });
  });

  it("takes the shared model where the package has none", async () => {
    emptyPackage();
    const shared = path.join(folder, "shared");
    mkdirSync(path.join(shared, "models"), { recursive: true });
    const file = path.join(shared, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
    writeFileSync(file, "");
    vi.stubEnv("STILLROOM_SHARED", shared);
    expect(await resolveDefaultModel()).toBe(file);
  });

  it("says how to give a model where there is none", async () => {
    emptyPackage();
    vi.stubEnv("STILLROOM_SHARED", path.join(folder, "nothing"));
    await expect(resolveDefaultModel()).rejects.toMatchObject({
      code: "missing",
      message: expect.stringMatching(/no model was given .* --model PATH or --model hf:USER\/REPOSITORY\/FILE\.gguf/),
    });
  });
});

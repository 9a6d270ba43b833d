// A stored adapter, wherever it lies, bound to an open model. Knows the places where an adapter may lie; no format.
import { existsSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import path from "node:path";
import { cannot, StillroomError } from "../support/errors.js";
import { isFolder } from "../support/files.js";
import type { InputFile } from "../support/inputs.js";
import { type NativeLora, type NativeModel, native, rethrow } from "../support/native.js";
import { calibrationFile } from "./calibration.js";
import { type Adapter, CONFIG_FILE, readAdapterFolder, TENSORS_FILE } from "./folder.js";
import { headFile, readHead } from "./head.js";
import { targetsOf } from "./names.js";

/**
 * Loads an adapter for a model: from a run folder of tune (its adapter/, and the task's own head where it trained one), from a folder of PEFT, or from a GGUF LoRA. Throws
 * "missing" where there is none, "input" for one that is malformed or of another model, "io" where this user may not read it.
 *
 * @example
 * ```ts
 * const model = await native().openModel("SmolLM2-135M-Instruct.Q4_1.gguf", { threads: 2, variant: null });
 * const lora = await loadAdapter(model, "runs/fruit");
 * const scores = await model.score(batch, lora);
 * ```
 */
export async function loadAdapter(model: NativeModel, place: string): Promise<NativeLora> {
  const stored = existsSync(place) ? await readHead(place) : null;
  const adapter = await readAdapter(model, place, stored !== null);
  try {
    const { loss, parameters } = stored?.head ?? {};
    const head = stored && { outputs: stored.outputs, loss: loss!, parameters: Float32Array.from(parameters!) };
    const lora = model.createLora({ ...adapter.options, ...(head && { head }) });
    lora.load([...adapter.tensors, ...(stored?.tensors ?? [])]);
    return lora;
  } catch (error) {
    throw new StillroomError(
      "input",
      `the adapter ${place} does not fit ${model.info.path}: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

/** The files that an adapter may be read from; a RUN folder has it twice. */
export function adapterFiles(place: string): InputFile[] {
  const names = [CONFIG_FILE, TENSORS_FILE];
  const inFolder = [
    ...names,
    ...names.map((name) => path.join("adapter", name)),
    "adapter.gguf",
    path.basename(headFile("")),
    path.basename(calibrationFile("")),
  ];
  const files = isFolder(place) ? inFolder.map((name) => path.join(place, name)) : [place];
  return files.map((file) => ({ what: `a file of the adapter ${place}`, file }));
}

/** An adapter that changes no weight: what a head alone stands on. */
const nothing: Adapter = {
  options: { rank: 1, alpha: 1, dropout: 0, rsLora: false, targets: [], seed: 0 },
  tensors: [],
};

async function readAdapter(model: NativeModel, place: string, hasHead: boolean): Promise<Adapter> {
  if (!existsSync(place)) throw new StillroomError("missing", `there is no adapter at ${place}`);
  if (!isFolder(place)) return readGguf(model, place);
  const folder = [place, path.join(place, "adapter")].find((candidate) =>
    existsSync(path.join(candidate, CONFIG_FILE)),
  );
  if (folder) return readAdapterFolder(folder, model.info);
  if (hasHead) return nothing;
  const whole = path.join(place, "model.gguf");
  if (existsSync(whole)) {
    throw new StillroomError(
      "usage",
      `the run ${place} trained the model itself: give ${whole} as model, and no adapter`,
      {
        options: ["model", "adapter"],
      },
    );
  }
  throw new StillroomError("missing", `expected ${CONFIG_FILE} in ${place} or in its folder adapter, found none`);
}

async function readGguf(model: NativeModel, file: string): Promise<Adapter> {
  // Before the native reader, which has the system's words for it.
  await access(file, constants.R_OK).catch((cause) => {
    throw cannot("read the adapter", file, cause);
  });
  const { architecture, alpha, tensors } = await native().readAdapter(file).catch(rethrow);
  if (architecture !== model.info.architecture) {
    throw new StillroomError(
      "input",
      `${file} is for architecture ${architecture}, the model is ${model.info.architecture}`,
    );
  }
  const rank = tensors.find(({ name }) => name.endsWith(".lora_a"))?.shape[0];
  if (rank === undefined) throw new StillroomError("input", `${file} holds no adapter`);
  const targets = targetsOf(tensors.map(({ name }) => name));
  // llama.cpp takes alpha 0 as a scale of 1.
  return { options: { rank, alpha: alpha === 0 ? rank : alpha, dropout: 0, rsLora: false, targets, seed: 0 }, tensors };
}

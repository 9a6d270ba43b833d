// An adapter as a folder that Hugging Face PEFT loads and writes: adapter_config.json and adapter_model.safetensors.
// Knows nothing of a model beyond the facts of its header.
import { existsSync } from "node:fs";
import path from "node:path";
import { StillroomError, unexpected } from "../support/errors.js";
import { makeFolder, writeFileAtomic } from "../support/files.js";
import type { NativeLoraOptions, NativeModelInfo, NativeTensor } from "../support/native.js";
import { type AdapterSettings, formatConfig, readConfig } from "./config.js";
import { type Factor, factorsOf, fromPeftOrder, frozenCopies, TARGETS, toPeftOrder } from "./names.js";
import { readSafetensors, type Tensor, writeSafetensors } from "./safetensors.js";

export const CONFIG_FILE = "adapter_config.json";
export const TENSORS_FILE = "adapter_model.safetensors";
/** Where a tensors file of ours repeats the settings of its description, so that two files of different adapters are told apart. */
const SETTINGS_KEY = "stillroom";

/** What readAdapterFolder gives: seed is 0, for a finished adapter draws nothing. */
export interface Adapter {
  options: NativeLoraOptions;
  tensors: NativeTensor[];
}

/**
 * Writes an adapter so that `PeftModel.from_pretrained(model, folder)` loads it. Each file is written atomically; the tensors
 * carry their hash and settings. Throws "io" where the folder cannot be written.
 *
 * @param tensors - all tensors of the adapter, in GGUF's order (NativeLora.tensors())
 * @param info - of the model that the adapter was trained on
 * @param baseModel - what adapter_config.json names as base_model_name_or_path
 *
 * @example
 * ```ts
 * await writeAdapterFolder({
 *   folder: "runs/fruit/adapter",
 *   tensors: lora.tensors(),
 *   options: lora.options,
 *   info: model.info,
 *   baseModel: "HuggingFaceTB/SmolLM2-135M-Instruct",
 * });
 * ```
 */
export async function writeAdapterFolder(adapter: {
  folder: string;
  tensors: readonly NativeTensor[];
  options: NativeLoraOptions;
  info: NativeModelInfo;
  baseModel: string;
}): Promise<void> {
  const { folder, options, info } = adapter;
  const given = new Map(adapter.tensors.map((tensor) => [tensor.name, tensor]));
  const factors = factorsOf(info, options.targets, options.rank, options.layers);
  if (given.size !== factors.length) {
    throw unexpected(`${factors.length} tensors`, "an adapter of these targets", given.size, "internal");
  }
  const tensors = factors.map((factor): Tensor => {
    const tensor = given.get(factor.gguf);
    requireShape(factor, factor.gguf, tensor?.shape, "internal");
    return { name: factor.peft, shape: factor.shape, data: toPeftOrder(factor, tensor!) };
  });
  await makeFolder(folder);
  // transformers looks for format "pt".
  const metadata = { format: "pt", [SETTINGS_KEY]: describe(options) };
  await writeSafetensors(path.join(folder, TENSORS_FILE), tensors, metadata);
  await writeFileAtomic(path.join(folder, CONFIG_FILE), formatConfig(options, adapter.baseModel));
}

/**
 * Reads an adapter that we or PEFT wrote. Throws "input" for malformed or damaged files, features of PEFT that stillroom does
 * not have (by name), and shapes that are not the model's.
 *
 * @param info - of the model that the adapter is for
 *
 * @example
 * ```ts
 * const { options, tensors } = await readAdapterFolder("runs/fruit/adapter", model.info);
 * ```
 */
export async function readAdapterFolder(folder: string, info: NativeModelInfo): Promise<Adapter> {
  const file = path.join(folder, TENSORS_FILE);
  if (!existsSync(file) && existsSync(path.join(folder, "adapter_model.bin"))) {
    throw new StillroomError(
      "input",
      `${folder} holds its tensors as a pickle; save it from PEFT with safe_serialization=True`,
    );
  }
  const { settings } = await readConfig(path.join(folder, CONFIG_FILE));
  const { metadata, tensors } = await readSafetensors(file);
  const repeated = metadata.get(SETTINGS_KEY);
  if (repeated !== undefined && repeated !== describe(settings)) {
    throw new StillroomError(
      "input",
      `${folder}: ${CONFIG_FILE} has other settings than ${TENSORS_FILE} was written with`,
    );
  }
  const all = new Map(factorsOf(info, TARGETS, settings.rank, settings.layers).map((factor) => [factor.peft, factor]));
  const frozen = frozenCopies(info);
  const found = new Map<string, NativeTensor>();
  const targets = new Set<NativeLoraOptions["targets"][number]>();
  for (const tensor of tensors) {
    const factor = all.get(tensor.name);
    // PEFT saves the frozen weights of adapted embeddings along: no part of the adapter, and the model has them.
    if (!factor && frozen.get(tensor.name)?.join() === tensor.shape.join()) continue;
    if (!factor) throw new StillroomError("input", `${file}: tensor ${tensor.name} fits no weight of ${info.path}`);
    requireShape(factor, `${file}: tensor ${tensor.name}`, tensor.shape, "input");
    if (!tensor.data.every(Number.isFinite)) {
      throw new StillroomError("input", `${file}: tensor ${tensor.name} holds a value that is not finite`);
    }
    targets.add(factor.target);
    found.set(factor.gguf, { name: factor.gguf, shape: factor.shape, data: fromPeftOrder(factor, tensor.data) });
  }
  if (targets.size === 0) throw new StillroomError("input", `${file} holds no adapter`);
  const options = { ...settings, targets: TARGETS.filter((target) => targets.has(target)), seed: 0 };
  const complete = factorsOf(info, options.targets, options.rank, options.layers).map((factor) => {
    const tensor = found.get(factor.gguf);
    if (!tensor)
      throw new StillroomError(
        "input",
        `${file}: tensor ${factor.peft} is missing; adapt all layers, or those of layers_to_transform`,
      );
    return tensor;
  });
  return { options, tensors: complete };
}

function describe({ rank, alpha, dropout, rsLora, layers }: AdapterSettings): string {
  return JSON.stringify({ version: 1, rank, alpha, dropout, rsLora, ...(layers && { layers }) });
}

function requireShape(
  factor: Factor,
  name: string,
  shape: readonly number[] | undefined,
  code: "input" | "internal",
): void {
  if (shape?.join() !== factor.shape.join())
    throw unexpected(`the shape ${factor.shape.join(" x ")}`, name, shape, code);
}

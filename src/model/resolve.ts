// From what a user gives as a model, or gives not, to a file that is there. Opens nothing.
import { access, constants, readdir, stat } from "node:fs/promises";
import path from "node:path";
import { cannot, isAbsent, StillroomError, unexpected } from "../support/errors.js";
import type { InputFile } from "../support/inputs.js";
import { type DownloadOptions, downloadModel, isModelUri } from "./download.js";
import { packageRoot } from "./folders.js";

const sharedModel = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
/** What is used where no model was given and none is found. */
export const defaultModelUri = "hf:bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q4_K_M.gguf";

/**
 * The absolute path of a model: of a path that is there, of an hf: URI (downloaded once), or of {@link resolveDefaultModel}.
 * Throws "missing" where there is no file, "input" where it is none, "io" where this user may not read it, "cancelled" on abort.
 */
export async function resolveModel(model: string | undefined, options: DownloadOptions = {}): Promise<string> {
  if (model === undefined) return resolveDefaultModel(options);
  if (typeof model !== "string" || model === "") throw unexpected("a path or an hf: URI", "model", model);
  if (isModelUri(model)) return downloadModel(model, options);
  const file = path.resolve(model);
  const found = await stat(file).catch((cause: NodeJS.ErrnoException) => {
    if (isAbsent(cause)) {
      throw new StillroomError("missing", `there is no model ${model} (give a path or an hf: URI)`, { cause });
    }
    throw cannot("read the model", file, cause);
  });
  if (!found.isFile()) {
    const received = found.isDirectory() ? `${model}/` : `a pipe or a device: ${model}`;
    throw unexpected("a GGUF file", "model", received, "input");
  }
  // Before the native reader, which has the system's words for it.
  await access(file, constants.R_OK).catch((cause) => {
    throw cannot("read the model", file, cause);
  });
  return file;
}

const boxFolder = (): string => path.join(packageRoot(), "models");

/** The models in the box, for jobs that must not write over them. */
export async function boxedModels(): Promise<InputFile[]> {
  const names = await readdir(boxFolder()).catch(() => [] as string[]);
  return names
    .filter((name) => name.endsWith(".gguf"))
    .sort()
    .map((name) => ({ what: "the model in stillroom's box", file: path.join(boxFolder(), name) }));
}

/**
 * The model in the box (models/*.gguf of the package), else SmolLM2-135M of the folder STILLROOM_SHARED (default: ../shared
 * beside the package), else the same from Hugging Face.
 */
export async function resolveDefaultModel(options: DownloadOptions = {}): Promise<string> {
  const boxed = (await boxedModels())[0];
  if (boxed) return boxed.file;
  const shared = path.join(process.env.STILLROOM_SHARED || path.join(packageRoot(), "../shared"), sharedModel);
  if ((await stat(shared).catch(() => null))?.isFile()) return shared;
  try {
    return await downloadModel(defaultModelUri, options);
  } catch (cause) {
    if (cause instanceof StillroomError && cause.code === "cancelled") throw cause;
    throw new StillroomError(
      "missing",
      `no model was given and none is in ${boxFolder()}; give one by --model PATH or --model hf:USER/REPOSITORY/FILE.gguf (${(cause as Error).message})`,
      { cause },
    );
  }
}

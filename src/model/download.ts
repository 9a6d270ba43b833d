// Models by hf: URI, through node-llama-cpp's downloader. Owns the folder models/ in the user's cache, and the limits that the
// downloader lacks: it would try an unreachable host 150 times.
import path from "node:path";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { cacheFolder } from "./folders.js";

/** Bytes of a download so far. */
export interface DownloadProgress {
  downloadedBytes: number;
  totalBytes: number;
}

export interface DownloadOptions {
  signal?: AbortSignal | undefined;
  /** Called several times a second while a model is downloaded. */
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
}

/** No answer, or no new bytes, for so long ends a download. */
const silenceSeconds = 30;

/** Whether a model is given by hf: URI rather than by path. */
export function isModelUri(model: string): boolean {
  return /^(hf|huggingface):/.test(model);
}

/**
 * The path of a model given by hf: URI; downloads it unless it lies in the cache. HF_ENDPOINT names another hub, HF_TOKEN
 * gives access to gated models. Throws "usage" for another form, "missing" when it cannot be had, "cancelled" on abort.
 */
export async function downloadModel(uri: string, options: DownloadOptions = {}): Promise<string> {
  requireForm(uri);
  const { resolveModelFile } = await import("node-llama-cpp");
  const directory = path.join(cacheFolder(), "models");
  const plain = { directory, cli: false } as const;
  try {
    return await resolveModelFile(uri, { ...plain, download: false });
  } catch {
    // Not in the cache: goes on to the hub.
  }
  throwIfCancelled(options.signal, `downloading ${uri}`);
  const silence = new Silence(options.signal);
  try {
    await requireHub(silence);
    const download = resolveModelFile(uri, {
      ...plain,
      signal: silence.signal,
      // A part that was downloaded is kept, and the next call goes on from it.
      deleteTempFileOnCancel: false,
      onProgress({ downloadedSize, totalSize }) {
        silence.heard();
        options.onDownload?.({ downloadedBytes: downloadedSize, totalBytes: totalSize });
      },
    });
    return await Promise.race([download, silence.broken]);
  } catch (error) {
    throwIfCancelled(options.signal, `downloading ${uri}`);
    throw new StillroomError("missing", `cannot download ${uri}: ${reasonOf(error)}`, { cause: error });
  } finally {
    silence.end();
  }
}

/** Refuses what no hub could know, before any request. */
function requireForm(uri: string): void {
  const part = "[\\w][\\w.-]*";
  const form = new RegExp(`^(hf|huggingface):(//)?${part}/${part}(:${part}|(/${part})+\\.gguf(#\\S+)?)?$`, "i");
  if (form.test(uri)) return;
  throw unexpected("hf:USER/REPOSITORY/FILE.gguf or hf:USER/REPOSITORY:QUANTISATION", "model", uri);
}

/** One request that fails at once where the downloader would go on trying. */
async function requireHub(silence: Silence): Promise<void> {
  const hub = process.env.MODEL_ENDPOINT || process.env.HF_ENDPOINT || "https://huggingface.co/";
  try {
    await fetch(hub, { method: "HEAD", redirect: "manual", signal: silence.signal });
  } catch (error) {
    throw new Error(`${hub} cannot be reached (${reasonOf(error)})`, { cause: error });
  }
  silence.heard();
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as { message: string; cause?: { message?: string; code?: string } };
  return message === "fetch failed" && cause ? cause.code || cause.message || message : message;
}

/** Aborts when nothing was heard for a while, or when the caller does. */
class Silence {
  readonly broken: Promise<never>;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #abort = () => this.#controller.abort(new Error("aborted"));

  constructor(caller: AbortSignal | undefined) {
    this.#caller = caller;
    caller?.addEventListener("abort", this.#abort, { once: true });
    this.broken = new Promise((_, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason), { once: true });
    });
    this.broken.catch(() => undefined);
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    clearTimeout(this.#timer);
    const silent = () => this.#controller.abort(new Error(`nothing came for ${silenceSeconds} seconds`));
    this.#timer = setTimeout(silent, silenceSeconds * 1000);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
  }
}

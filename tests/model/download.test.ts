// Models by hf: URI, from a hub of our own on this machine.
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { downloadModel, isModelUri } from "../../src/model/download.js";
import { resolveModel } from "../../src/model/resolve.js";

const body = Buffer.alloc(3 << 20, 7);
const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-download-"));
let hub: Server;
let url = "";
let requests: string[] = [];
let count = 0;

beforeAll(async () => {
  hub = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    const name = request.url ?? "";
    if (name.includes("none")) return response.writeHead(404).end();
    if (name.startsWith("/v2/")) return response.end(JSON.stringify({ ggufFile: { rfilename: "small-Q4_K_M.gguf" } }));
    const range = /bytes=(\d+)-(\d+)?/.exec(request.headers.range ?? "");
    const [from, to] = range ? [Number(range[1]), Number(range[2] ?? body.length - 1)] : [0, body.length - 1];
    const part = { "content-range": `bytes ${from}-${to}/${body.length}` };
    response.writeHead(range ? 206 : 200, {
      "accept-ranges": "bytes",
      "content-length": to - from + 1,
      ...(range && part),
    });
    if (name.includes("stalls")) return response.write(body.subarray(from, from + 1000));
    response.end(request.method === "HEAD" ? undefined : body.subarray(from, to + 1));
  });
  await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(hub.address() as AddressInfo).port}/`;
});

afterAll(() => {
  hub.closeAllConnections();
  hub.close();
});

beforeEach(() => {
  requests = [];
  vi.stubEnv("HF_ENDPOINT", url);
  vi.stubEnv("XDG_CACHE_HOME", path.join(folder, String(count++)));
});

describe("downloadModel", () => {
  it("downloads a named file once, and tells how far it is", async () => {
    const seen: number[] = [];
    const onDownload = ({ downloadedBytes }: { downloadedBytes: number }) => seen.push(downloadedBytes);
    const file = await downloadModel("hf:user/repository/small.gguf", { onDownload });
    expect(readFileSync(file).equals(body)).toBe(true);
    expect(file.startsWith(folder)).toBe(true);
    expect(seen.at(-1)).toBe(body.length);
    requests = [];
    expect(await resolveModel("hf:user/repository/small.gguf")).toBe(file);
    expect(requests).toEqual([]);
  });

  it("asks the hub which file a quantisation is", async () => {
    const file = await downloadModel("hf:user/repository:Q4_K_M");
    expect(readFileSync(file).length).toBe(body.length);
    expect(requests).toContain("GET /v2/user/repository/manifests/Q4_K_M");
  });

  it.each(["hf:user/repository/none.gguf", "hf:none/repository:Q4_K_M"])(
    "names %s when it cannot be had",
    async (uri) => {
      await expect(downloadModel(uri)).rejects.toMatchObject({
        code: "missing",
        message: expect.stringContaining(`cannot download ${uri}: `),
      });
    },
  );

  it.each([
    "hf:nonsense",
    "hf:",
    "hf:user/",
    "hf:/repository:Q8_0",
    "hf:user/repository/file.bin",
    "hf:user/a b.gguf",
    "hf:../x",
  ])("refuses %j by its form, without a request", async (uri) => {
    await expect(downloadModel(uri)).rejects.toMatchObject({
      code: "usage",
      message: `expected hf:USER/REPOSITORY/FILE.gguf or hf:USER/REPOSITORY:QUANTISATION for model, received "${uri}"`,
    });
    expect(requests).toEqual([]);
  });

  it("gives up at once where no hub answers", async () => {
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9/");
    await expect(downloadModel("hf:user/repository/small.gguf")).rejects.toMatchObject({
      code: "missing",
      message: expect.stringMatching(/http:\/\/127\.0\.0\.1:9\/ cannot be reached/),
    });
  }, 5000);

  it("stops when it is called off", async () => {
    const controller = new AbortController();
    const download = downloadModel("hf:user/repository/stalls.gguf", { signal: controller.signal });
    setTimeout(() => controller.abort(), 300);
    await expect(download).rejects.toMatchObject({ code: "cancelled" });
  }, 5000);

  it("knows a URI from a path", () => {
    expect(["hf:a/b", "huggingface:a/b:Q8_0", "a/b.gguf", "./hf:a"].map(isModelUri)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

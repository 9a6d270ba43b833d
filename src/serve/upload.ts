// multipart/form-data from a request into a file, piece by piece: an upload may be far larger than what memory should hold. Takes no name and no path from the
// client, but a name to show.
import type { IncomingMessage } from "node:http";
import type { WholeFile } from "../support/files.js";
import { ApiError } from "./errors.js";
import { tooLarge } from "./http.js";

/** Of a part's head and of a plain field. */
const mostHead = 8192;
const mostParts = 16;

export interface Uploaded {
  purpose: string;
  filename: string;
  bytes: number;
}

const wrong = (message: string, param: string | null = null) =>
  new ApiError(400, message, { param, code: "invalid_upload" });

/** Writes the part named file, and gives what the others say. Throws 400 for what is no such form, 413 beyond the limit. */
export async function readUpload(incoming: IncomingMessage, file: WholeFile, limit: number): Promise<Uploaded> {
  const type = incoming.headers["content-type"] ?? "";
  const match = /^multipart\/form-data;.*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(type);
  if (!match) throw wrong("expected multipart/form-data with the fields purpose and file");
  if (Number(incoming.headers["content-length"] ?? 0) > limit + mostParts * mostHead) throw tooLarge(limit);
  const reader = new Reader(incoming, limit + mostParts * mostHead, limit);
  const boundary = Buffer.from(`\r\n--${match[1] ?? match[2]}`);
  // The first boundary has no line before it.
  reader.rest = Buffer.from("\r\n");
  const fields = new Map<string, string>();
  let [filename, bytes]: [string | null, number] = [null, 0];
  await reader.until(boundary, async () => undefined);
  for (let parts = 0; ; parts++) {
    if (parts > mostParts) throw wrong(`expected at most ${mostParts} fields`);
    const end = await reader.line();
    if (end === "--") break;
    if (end !== "") throw wrong("the form is not what multipart/form-data is");
    const head = await reader.head();
    const name = /[; ]name="([^"]*)"/i.exec(head)?.[1];
    if (name === "file") {
      if (filename !== null) throw wrong("expected one file", "file");
      filename = (/filename="([^"]*)"/i.exec(head)?.[1] ?? "upload").split(/[/\\]/).at(-1)!.slice(0, 200);
      await reader.until(boundary, async (piece) => {
        bytes += piece.length;
        if (bytes > limit) throw tooLarge(limit);
        // A slice of a chunk would keep the whole chunk, and is written later.
        await file.write(Buffer.from(piece));
      });
    } else {
      let text = "";
      await reader.until(boundary, async (piece) => {
        text += piece.toString();
        if (text.length > mostHead) throw wrong("a field is too long", name ?? null);
      });
      fields.set(name ?? "", text);
    }
  }
  const purpose = fields.get("purpose") ?? "";
  if (purpose !== "batch")
    throw wrong(`expected batch for purpose, received ${JSON.stringify(purpose.slice(0, 40))}`, "purpose");
  if (filename === null) throw wrong("expected a file", "file");
  return { purpose, filename, bytes };
}

/** Bytes of a request up to marks. */
class Reader {
  rest: Buffer = Buffer.alloc(0);
  #bytes = 0;
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(
    incoming: IncomingMessage,
    readonly most: number,
    readonly limit: number,
  ) {
    // Not destroyed when reading ends early: an answer has to go the same way.
    this.#chunks = incoming.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#chunks.next().catch(() => ({ done: true, value: undefined }));
    if (done) throw wrong("the form ends before its last boundary");
    this.#bytes += (value as Buffer).length;
    if (this.#bytes > this.most) throw tooLarge(this.limit);
    this.rest = this.rest.length === 0 ? (value as Buffer) : Buffer.concat([this.rest, value as Buffer]);
  }

  /** Hands out what stands before the mark, and leaves what stands behind it. */
  async until(mark: Buffer, take: (piece: Buffer) => Promise<void>): Promise<void> {
    for (;;) {
      const at = this.rest.indexOf(mark);
      const end = at >= 0 ? at : Math.max(0, this.rest.length - mark.length + 1);
      if (end > 0) await take(this.rest.subarray(0, end));
      this.rest = this.rest.subarray(at >= 0 ? at + mark.length : end);
      if (at >= 0) return;
      await this.#more();
    }
  }

  async #short(mark: string): Promise<string> {
    let text = "";
    await this.until(Buffer.from(mark), async (piece) => {
      text += piece.toString("latin1");
      if (text.length > mostHead) throw wrong("the form is not what multipart/form-data is");
    });
    return text;
  }

  /** What follows a boundary on its line: nothing, or -- behind the last one. */
  async line(): Promise<string> {
    while (this.rest.length < 2) await this.#more();
    const two = this.rest.toString("latin1", 0, 2);
    if (two === "--") return two;
    return this.#short("\r\n");
  }

  async head(): Promise<string> {
    const head = await this.#short("\r\n\r\n");
    return Buffer.from(head, "latin1").toString("utf8");
  }
}

// OpenAI's batch format: a line a request, and the lines of answers and errors that belong to it. Every field of a line depends on the request alone, so
// that a batch gives the same bytes however often it was begun.
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { defaultMaxBytes, readLines } from "../dataset/index.js";
import type { Model } from "../model/index.js";
import type { Answer } from "../store/index.js";
import { cannotRead } from "../support/files.js";
import { type Input, type Item, once, orReason } from "./item.js";
import { type EmbeddingsAsked, embeddingMaker, embeddingsBody, embeddingsPath } from "./openai-embeddings.js";
import { paths, type RequestPath, requestMaker } from "./openai-request.js";

interface Given {
  custom_id: string;
  url: RequestPath | typeof embeddingsPath;
}

/** Opens a file of requests. Throws "missing" or "io" where it cannot be read. */
export async function openRequests(
  file: string,
  model: Model,
  name: string,
  signal: AbortSignal | undefined,
  /** How messages name the file. */
  shown = file,
): Promise<Input> {
  const total = await countLines(file);
  const ask = requestMaker(model);
  const askVectors = embeddingMaker(model);
  async function* items(): AsyncGenerator<Item> {
    for await (const { number, bytes } of readLines(file, { maxBytes: defaultMaxBytes, signal })) {
      if (bytes?.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)) continue;
      yield* itemsOf(bytes === null ? `the line is longer than ${defaultMaxBytes} bytes` : bytes, shown, number);
    }
  }
  const itemsOf = (bytes: Buffer | string, at: string, line: number): Item[] => {
    const parsed = typeof bytes === "string" ? { given: null, body: null, reason: bytes } : parseLine(bytes);
    const { given, body } = parsed;
    const failed = (reason: string, atWork?: boolean) =>
      errorLine(parsed.custom_id ?? null, given, `${at}:${line}: ${reason}`, atWork === true);
    const whole = { file: at, line, texts: [], failed };
    const wrong = (reason: string): Item[] => [
      { ...whole, request: () => reason, size: reason.length, answered: () => null },
    ];
    if (given?.url === embeddingsPath) {
      const asked = orReason(() => askVectors(body));
      if (typeof asked === "string") return wrong(asked);
      return partsOf(asked, whole, (answers) => vectorsLine(given, asked, answers, name));
    }
    const asked = parsed.reason ?? ask(given!.url as RequestPath, body);
    if (typeof asked === "string") return wrong(asked);
    const { laid, request, text } = asked;
    return [
      {
        ...whole,
        laid,
        request: once(() => orReason(request)),
        size: laid.laid.length,
        texts: [text],
        answered: (answer) => answerLine(given!, answer, model, name),
      },
    ];
  };
  return { total, items };
}

/** A row for each text of a list, which the last of them that is answered writes down. */
function partsOf(
  { requests }: EmbeddingsAsked,
  whole: Pick<Item, "file" | "line" | "texts" | "failed">,
  lineOf: (answers: readonly Answer[]) => object,
): Item[] {
  const answers: Answer[] = new Array(requests.length);
  let [missing, told] = [requests.length, false];
  return requests.map((request, index) => ({
    ...whole,
    request: () => request,
    size: request.prompt.length,
    part: index + 1 < requests.length,
    answered: (answer) => {
      answers[index] = answer;
      return --missing === 0 ? lineOf(answers) : null;
    },
    failed: (reason, atWork) => {
      if (told) return null;
      told = true;
      return whole.failed(requests.length === 1 ? reason : `input[${index}]: ${reason}`, atWork);
    },
  }));
}

interface ParsedLine {
  custom_id?: string | null;
  given: Given | null;
  body: unknown;
  reason?: string;
}

function parseLine(bytes: Buffer): ParsedLine {
  // Read with a sign in the place of what is broken, it would be another request.
  if (!isUtf8(bytes)) return { given: null, body: null, reason: "is not UTF-8" };
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
  } catch (error) {
    return { given: null, body: null, reason: `is not JSON: ${(error as Error).message.slice(0, 120)}` };
  }
  if (line === null || typeof line !== "object" || Array.isArray(line))
    return { given: null, body: null, reason: "is not a JSON object" };
  const { custom_id, method, url, body, ...rest } = line;
  if (typeof custom_id !== "string") return { given: null, body, reason: "has no custom_id that is a text" };
  const wrong = (reason: string) => ({ custom_id, given: null, body, reason });
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) return wrong(`has an unknown field ${unknown}`);
  if (method !== "POST") return wrong("expected POST for method");
  if (!(all as readonly unknown[]).includes(url)) return wrong(`expected one of ${all.join(", ")} for url`);
  return { custom_id, given: { custom_id, url: url as Given["url"] }, body };
}

const all = [...paths, embeddingsPath];

const idOf = (...parts: string[]) => createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 24);

function answerLine({ custom_id, url }: Given, answer: Answer, model: Model, name: string): object {
  const id = idOf(custom_id, answer.text);
  return responseLine(custom_id, id, answerBody(url as RequestPath, answer, model, { id, created: 0, name }));
}

function vectorsLine({ custom_id }: Given, asked: EmbeddingsAsked, answers: readonly Answer[], name: string): object {
  const body = embeddingsBody(asked, answers, name);
  return responseLine(custom_id, idOf(custom_id, JSON.stringify(body)), body);
}

function responseLine(custom_id: string, id: string, body: object): object {
  return { id: `batch_req_${id}`, custom_id, response: { status_code: 200, request_id: id, body }, error: null };
}

/** The body of a response that is an answer. */
export function answerBody(
  url: RequestPath,
  answer: Answer,
  model: Model,
  { id, created, name }: { id: string; created: number; name: string },
): object {
  const { promptTokens: prompt_tokens, answerTokens: completion_tokens, ended } = answer;
  const finish_reason = ended === "length" ? "length" : "stop";
  const chat = url === "/v1/chat/completions";
  const choice = chat
    ? {
        index: 0,
        message: { role: "assistant", content: answer.text, refusal: null },
        logprobs: chatLogprobs(answer, model),
        finish_reason,
      }
    : { text: answer.text, index: 0, logprobs: completionLogprobs(answer, model), finish_reason };
  return {
    id: `${chat ? "chatcmpl" : "cmpl"}-${id}`,
    object: chat ? "chat.completion" : "text_completion",
    created,
    model: name,
    choices: [choice],
    usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens },
  };
}

function errorLine(custom_id: string | null, given: Given | null, message: string, atWork: boolean): object {
  const id = idOf(custom_id ?? "", message);
  if (given === null)
    return { id: `batch_req_${id}`, custom_id, response: null, error: { code: "invalid_request", message } };
  const [status_code, type] = atWork ? [500, "server_error"] : [400, "invalid_request_error"];
  const error = { message, type, param: null, code: null };
  return {
    id: `batch_req_${id}`,
    custom_id,
    response: { status_code, request_id: id, body: { error } },
    error: null,
  };
}

const textOf = (model: Model, token: number) => model.tokenizer.detokenize(Int32Array.of(token), true);

export function chatLogprobs({ logProbabilities }: Answer, model: Model): object | null {
  if (logProbabilities === null) return null;
  const one = ({ token, logProbability }: { token: number; logProbability: number }) => {
    const text = textOf(model, token);
    return { token: text, logprob: logProbability, bytes: [...Buffer.from(text)] };
  };
  return {
    content: logProbabilities.map((token) => ({ ...one(token), top_logprobs: token.mostLikely.map(one) })),
    refusal: null,
  };
}

export function completionLogprobs({ logProbabilities }: Answer, model: Model): object | null {
  if (logProbabilities === null) return null;
  const tokens = logProbabilities.map(({ token }) => textOf(model, token));
  let offset = 0;
  return {
    tokens,
    token_logprobs: logProbabilities.map(({ logProbability }) => logProbability),
    top_logprobs: logProbabilities.map(({ mostLikely }) =>
      Object.fromEntries(mostLikely.map(({ token, logProbability }) => [textOf(model, token), logProbability])),
    ),
    text_offset: tokens.map((text) => {
      const at = offset;
      offset += text.length;
      return at;
    }),
  };
}

/** Lines of a file, blank ones included. */
async function countLines(file: string): Promise<number> {
  const handle = await open(file, "r").catch((error) => cannotRead(file, error));
  try {
    const buffer = Buffer.allocUnsafe(1 << 18);
    let [lines, last] = [0, 0x0a];
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return lines + (last === 0x0a ? 0 : 1);
      for (let at = buffer.indexOf(0x0a); at !== -1 && at < bytesRead; at = buffer.indexOf(0x0a, at + 1)) lines++;
      last = buffer[bytesRead - 1]!;
    }
  } finally {
    await handle.close();
  }
}

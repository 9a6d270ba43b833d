// POST /v1/chat/completions and /v1/completions: OpenAI's requests and answers, whole or as server-sent events. Knows no store and no model's work.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { answerBody, type Engine, type RequestPath, requestMaker } from "../batch/index.js";
import type { Answer } from "../store/index.js";
import { described } from "../support/errors.js";
import type { Answers } from "./answers.js";
import { ApiError, apiErrorOf, badBody } from "./errors.js";
import { seconds } from "./files.js";
import { leavingOf, readObject, sendJson } from "./http.js";
import type { Log } from "./log.js";

interface Body {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: { index: number; text?: string; message?: { content: string }; logprobs: unknown; finish_reason: string }[];
  usage: object;
}

/** The names that a request may call the model by. */
export function namesOf({ maker, model }: Engine): string[] {
  const file = model.info.path.split("/").at(-1)!;
  return [...new Set([maker.model, file, file.replace(/\.gguf$/, "")])];
}

/** Throws where a request calls the model by another name (404), or by none (400). */
export function requireModel(engine: Engine, name: unknown): void {
  const names = namesOf(engine);
  if (typeof name === "string" && names.includes(name)) return;
  const received = name === undefined ? "none" : described(name);
  const message = `expected ${names[0]} for model, as /v1/models lists it, received ${received}`;
  if (typeof name === "string") throw new ApiError(404, message, { param: "model", code: "model_not_found" });
  throw new ApiError(400, message, { param: "model", code: "invalid_value" });
}

export function completionsHandler(answers: Answers, limit: number, log: Log, logPrompts: boolean) {
  const { engine } = answers;
  const ask = requestMaker(engine.model);
  return async (path: RequestPath, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { stream, stream_options, ...body } = await readObject(incoming, limit);
    const { streams, usage } = streamOf(stream, stream_options);
    requireModel(engine, body.model);
    const asked = ask(path, body);
    if (typeof asked === "string") throw badBody(asked);
    const request = asked.request();
    if (typeof request === "string") throw badBody(request);
    if (logPrompts) log.info({ prompt: asked.text }, "asked");
    const leaving = leavingOf(outgoing);
    const found = answers.ask({ request, text: asked.text });
    const about = {
      id: randomBytes(12).toString("hex"),
      created: seconds(),
      name: engine.maker.model,
    };
    const headers = { "x-stillroom-cache": found.from };
    const pieces = "flight" in found ? found.flight.follow(leaving) : known(found.answer);
    const whole = (answer: Answer) => answerBody(path, answer, engine.model, about) as Body;
    if (streams) await sendEvents(outgoing, pieces, whole, usage, headers);
    else {
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) return sendJson(outgoing, whole(value), headers);
      }
    }
  };
}

/** A known answer is one piece. */
async function* known(answer: Answer): AsyncGenerator<string, Answer> {
  if (answer.text !== "") yield answer.text;
  return answer;
}

function streamOf(stream: unknown, options: unknown): { streams: boolean; usage: boolean } {
  if (stream !== undefined && stream !== null && typeof stream !== "boolean")
    throw new ApiError(400, "body.stream: expected true or false", { param: "stream", code: "invalid_value" });
  if (options === undefined || options === null) return { streams: stream === true, usage: false };
  const { include_usage = false, include_obfuscation: _, ...rest } = Object(options) as Record<string, unknown>;
  if (
    stream !== true ||
    typeof options !== "object" ||
    typeof include_usage !== "boolean" ||
    Object.keys(rest).length > 0
  )
    throw new ApiError(400, "body.stream_options: expected include_usage, beside stream: true", {
      param: "stream_options",
      code: "invalid_value",
    });
  return { streams: true, usage: include_usage };
}

/** The answer as server-sent events. An error before the first piece is an answer with its status; one behind it, an event. */
async function sendEvents(
  outgoing: ServerResponse,
  pieces: AsyncGenerator<string, Answer>,
  whole: (answer: Answer) => Body,
  usage: boolean,
  headers: Record<string, string>,
): Promise<void> {
  const nothing: Answer = {
    text: "",
    probabilities: null,
    ended: "end",
    promptTokens: 0,
    answerTokens: 0,
    logProbabilities: null,
  };
  const { choices, usage: _, ...head } = whole(nothing);
  const chat = choices[0]!.message !== undefined;
  const object = chat ? "chat.completion.chunk" : head.object;
  const send = async (event: object | string) => {
    const text = typeof event === "string" ? event : JSON.stringify(event);
    // One who reads slowly is waited for here, and holds up nobody else.
    if (outgoing.write(`data: ${text}\n\n`) || outgoing.destroyed) return;
    const over = new AbortController();
    const either = ["drain", "close"].map((event) => once(outgoing, event, { signal: over.signal }));
    await Promise.race(either).finally(() => over.abort());
  };
  const chunk = (text: string | null, more: object) => {
    const words = text === null ? {} : { content: text };
    const choice = chat ? { index: 0, delta: words } : { index: 0, text: text ?? "" };
    return {
      ...head,
      object,
      choices: [{ ...choice, logprobs: null, finish_reason: null, ...more }],
      ...(usage && { usage: null }),
    };
  };
  let begun = false;
  const begin = async () => {
    if (begun) return;
    begun = true;
    outgoing.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache", ...headers });
    if (chat) await send(chunk(null, { delta: { role: "assistant", content: "" } }));
  };
  try {
    for (;;) {
      const { done, value } = await pieces.next();
      await begin();
      if (!done) {
        await send(chunk(value, {}));
        continue;
      }
      const { choices, usage: counts } = whole(value);
      const { logprobs, finish_reason } = choices[0]!;
      if (logprobs !== null) await send(chunk("", { logprobs }));
      await send(chunk(null, { finish_reason }));
      if (usage) await send({ ...head, object, choices: [], usage: counts });
      await send("[DONE]");
      outgoing.end();
      return;
    }
  } catch (error) {
    if (!begun) throw error;
    await send(apiErrorOf(error).body());
    outgoing.end();
  } finally {
    await pieces.return(nothing);
  }
}

// POST /v1/embeddings: OpenAI's request and answer. Knows no store and no model's work.
import type { IncomingMessage, ServerResponse } from "node:http";
import { embeddingMaker, embeddingsBody } from "../batch/index.js";
import type { Answers } from "./answers.js";
import { requireModel } from "./completions.js";
import { badBody } from "./errors.js";
import { leavingOf, readObject, sendJson } from "./http.js";
import type { Log } from "./log.js";

export function embeddingsHandler(answers: Answers, limit: number, log: Log, logPrompts: boolean) {
  const { engine } = answers;
  const ask = embeddingMaker(engine.model);
  return async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await readObject(incoming, limit);
    requireModel(engine, body.model);
    const asked = ask(body);
    if (typeof asked === "string") throw badBody(asked);
    if (logPrompts) log.info({ prompt: asked.texts }, "asked");
    const { from, answers: vectors } = await answers.embed(asked.requests, leavingOf(outgoing));
    sendJson(outgoing, embeddingsBody(asked, vectors, engine.maker.model), { "x-stillroom-cache": from });
  };
}

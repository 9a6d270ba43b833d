// Servers on a toy for tests, and raw requests to them.
import { connect } from "node:net";
import path from "node:path";
import OpenAI from "openai";
import { type ServeOptions, type Server, serve } from "../../src/serve/index.js";
import { openStore } from "../../src/store/index.js";
import { freshFolder } from "../batch/requests.js";
import { entryOf } from "../store/make.js";
import { writeTextToy } from "../support/text_toy.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");

export const chatToy = (): string =>
  writeTextToy({
    "tokenizer.chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>",
  });

/** A store that knows that a plum is a drupe. */
export async function knownStore(): Promise<string> {
  const folder = path.join(freshFolder(), "store");
  const store = await openStore(folder);
  await store.put([entryOf(1, " a drupe", ["Is a plum a drupe?"])]);
  await store.close();
  return folder;
}

export const started = (options: Partial<ServeOptions>): Promise<Server> =>
  serve({ store: path.join(freshFolder(), "store"), port: 0, threads: 1, ...options });

export const clientOf = ({ url }: Server, apiKey = "none"): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

export async function post(server: Server, at: string, body: unknown, headers: Record<string, string> = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(`${server.url}${at}`, { method: "POST", body: text, headers });
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what is tested
  return { status: response.status, headers: response.headers, json: (await response.json()) as any };
}

/** Sends bytes as they are, and gives all that comes back until the server closes. */
export function raw(server: Server, text: string): Promise<string> {
  const { port, hostname } = new URL(server.url);
  return new Promise((resolve) => {
    let out = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.setEncoding("utf8").on("data", (piece: string) => {
      out += piece;
    });
    socket.on("close", () => resolve(out)).on("error", () => undefined);
  });
}

/** The value of a metric by its name with labels. */
export async function metric(server: Server, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return line ? Number(line.split(" ").at(-1)) : 0;
}
